"What the evaluation refuses: images whose range is not said, features that do not go together."
import torch

from ddpm_edu.data import ImageDataset
from ddpm_edu.evaluation import (FashionFeatures, InceptionFeatures, bootstrap_error,
    fashion_distance, feature_stats, fid, frechet_distance, image_features, inception_score,
    kernel_distance, nearest_images, precision_recall, reference_stats)

bytes_ = torch.randint(0, 256, (5, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
color = bytes_.expand(-1, 3, -1, -1)
large = torch.nn.functional.pad(bytes_, (2, 2, 2, 2))
f = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
hole = f.clone()
hole[3, 2] = float("nan")

ROWS = [
    # call, error, words of the message
    ("image_features(bytes_.float()/127.5 - 1)", ValueError, ("[0, 1]", "value_range=(-1, 1)")),
    ("image_features(bytes_.long())", TypeError, ("images", "int64")),
    ("image_features(bytes_[0])", ValueError, ("images", "images[None]")),
    ("image_features(bytes_[:0])", ValueError, "images is empty"),
    ("image_features(color)", ValueError, ("images", "gray", "(5, 3, 28, 28)", "fid")),
    ("image_features(large)", ValueError, ("images", "28x28", "(5, 1, 32, 32)")),
    ("image_features(bytes_, 'inceptoin')", ValueError, ("extractor", "'inceptoin'", "Did you")),
    ("image_features(bytes_, 5)", TypeError,
     ("extractor must be 'fashion', 'inception', or a function", "got 5")),
    ("image_features(bytes_, None)", TypeError, ("extractor must be", "got None")),
    ("image_features(bytes_.float(), value_range=255)", ValueError,
     ("value_range must be a pair", "got 255")),
    ("image_features(bytes_, batch_size=0)", ValueError, ("batch_size", "at least 1")),
    ("image_features(bytes_, lambda v: (f[:5],))", TypeError, ("extractor", "(N, D)", "tuple")),
    ("image_features(bytes_, lambda v: f)", TypeError, ("extractor", "N=5", "(9, 4)")),
    ("image_features('samples')", TypeError, ("images", "ImageFolder", "np.load")),
    ("image_features(ImageDataset(bytes_))", TypeError, ("images", "ImageDataset", "its .images")),
    ("frechet_distance(f[:1], f)", ValueError, ("features_a", "at least 2 images", "(1, 4)")),
    ("frechet_distance(f, f[0])", ValueError, ("features_b", "(N, D)")),
    ("frechet_distance(f, f[:, :3])", ValueError, ("features_a", "features_b", "4 and 3")),
    ("frechet_distance(f, hole)", ValueError, ("features_b", "not finite")),
    ("frechet_distance(f.long(), f)", TypeError, ("features_a", "int64")),
    ("feature_stats(f.numpy())", TypeError, ("features", "ndarray")),
    ("reference_stats('validation')", ValueError, ("split", "'validation'")),
    ("fashion_distance(bytes_[:1])", ValueError, ("images", "at least 2 images")),
    ("fashion_distance(bytes_, 'tset')", ValueError, ("split", "Did you mean 'test'")),
    ("fashion_distance(bytes_, valuerange=(0, 1))", TypeError, ("valuerange", "value_range")),
    ("fashion_distance(bytes_, bytes_[:1])", ValueError, ("reference", "at least 2 images")),
    ("fid(bytes_, bytes_, extractor=FashionFeatures())", ValueError, ("extractor", "no FID")),
    ("fid(bytes_, bytes_, extractor='fashion')", ValueError, ("extractor", "image_features")),
    ("InceptionFeatures('{tmp}/nothing.pth')", FileNotFoundError, ("weights=", "https://")),
    ("bootstrap_error(frechet_distance, f, f, rounds=1)", ValueError, ("rounds", "at least 2")),
    ("kernel_distance(f[:1], f)", ValueError, ("features_a", "at least 2 images")),
    ("kernel_distance(f, f[:, :3])", ValueError, ("features_a", "features_b", "4 and 3")),
    ("kernel_distance(f, f[:5], 6)", ValueError, ("subset_size", "between 2 and 5", "smaller")),
    ("kernel_distance(f, f, 5, subsets=0)", ValueError, ("subsets", "at least 1")),
    ("precision_recall(f, f[:3])", ValueError, ("k must be", "between 1 and 2", "other images")),
    ("precision_recall(f, f[:1])", ValueError, ("reference", "at least 2 images")),
    ("precision_recall(f, f[:, :3])", ValueError, ("features", "reference", "4 and 3")),
    ("nearest_images(f[:0], f)", ValueError, ("features", "at least 1 image", "(0, 4)")),
    ("nearest_images(f, hole)", ValueError, ("reference", "not finite")),
    ("nearest_images(f, f[:, :3])", ValueError, ("features", "reference", "4 and 3")),
    ("inception_score(f[:1])", ValueError, ("logits", "at least 2 images")),
    ("kernel_distance(f, f, 5, 3, generator=0)", TypeError, ("generator", "got 0", "manual_seed")),
    ("bootstrap_error(frechet_distance, f, f, generator=0)", TypeError, ("generator", "got 0")),
]
