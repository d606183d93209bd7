"What the function that draws noise refuses."
import torch

from ddpm_edu.randn import randn


def seeds(n): return [torch.Generator().manual_seed(i) for i in range(n)]


ROWS = [
    ("randn((3, 2), seeds(2))", ValueError, ("generator", "each of the 3 images, got a list of 2")),
    ("randn((2, 2), 42)", TypeError, ("generator", "got 42", "torch.manual_seed(seed)")),
    ("randn((2, 2), [42, 43])", TypeError, ("generator", "got 42", "torch.manual_seed(seed)")),
]
