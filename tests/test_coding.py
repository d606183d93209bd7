"Chapter 9's files: round trips, damaged bytes, other precisions, other pipelines."
import copy
import json
import random
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline
from ddpm_edu.code_files import HEADER, pack, unpack
from ddpm_edu import cli
from ddpm_edu.compress import compress, decompress
from ddpm_edu.data import SLICE, load_fashion_mnist
from ddpm_edu.exact_pixels import TAIL, TOTAL, decode_pixels, encode_pixels, table
from ddpm_edu.progressive_coding import (Candidates, _Codec, _decode, calibrate, calibration,
    decode, decode_steps, encode, rmse, walsh)
from refusals.coding import made, ready

quiet = dict(disable=True)


@pytest.fixture(scope="module")
def pipe():
    pipe = DDPMPipeline.from_pretrained("fashion-mnist")
    pipe.set_progress_bar_config(**quiet)
    return pipe


@pytest.fixture(scope="module")
def x0(): return load_fashion_mnist("test", root=SLICE).batch([3, 14])


@pytest.fixture(scope="module")
def files(pipe, x0): return encode(pipe, x0, 40)


@pytest.fixture(scope="module")
def whole(pipe, x0):
    "A file with every pixel, with few indices: it shall be made quickly."
    return encode(pipe, x0[0], 20, lossless=True)


def refused(data):
    "Does reading this end in an error?"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try: unpack(data)
        except ValueError: return True
    return False


def test_round_trip(pipe, x0, files):
    for file, image in zip(files, x0):
        steps = decode_steps(pipe, file)
        assert len(file) == HEADER + 40 and len(steps) == 21
        assert rmse(steps, image)[-1] < rmse(steps, image)[5] < rmse(steps, image)[0]
    alone, together = decode(pipe, files[0], "pt"), decode(pipe, files, "pt")
    assert torch.allclose(alone, together[0], atol=1e-4)
    assert not torch.allclose(alone, together[1], atol=0.1)
    assert decode(pipe, files)[1].size == (28, 28)


def test_a_goal_is_reached_and_no_byte_later(pipe, x0):
    file = encode(pipe, x0[0], 200, rmse=15)
    path = rmse(decode_steps(pipe, file), x0[0])
    assert path[-1] <= 15 + 1e-3 and (path[:-1] > 15 - 1e-3).all()
    assert len(encode(pipe, x0[0], 200, rmse=15, effort=1)) >= len(file)
    assert len(encode(pipe, x0[0], 0)) == HEADER


def test_every_flipped_bit_of_the_header(files):
    for k in range(8*HEADER):
        damaged = bytearray(files[0])
        damaged[k//8] ^= 1 << k % 8
        assert refused(bytes(damaged)), k
    assert not refused(files[0])


def test_five_hundred_damaged_bodies(files):
    g, whole = random.Random(0), files[1]
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[g.randrange(HEADER, len(whole))] ^= 1 << g.randrange(8)
        assert refused(bytes(damaged))
    for n in range(HEADER, len(whole)):
        with pytest.warns(UserWarning, match="shortened"): assert not unpack(whole[:n]).whole
    for n in range(HEADER): assert refused(whole[:n])


def test_random_bytes_are_hardly_ever_a_file():
    g = random.Random(1)
    taken = sum(not refused(b"\xdd\x10" + g.randbytes(60)) for _ in range(2000))
    assert taken < 30                                # 1 of 256 headers, and of them few bodies


def test_shortened_files_are_pictures(pipe, files):
    steps = decode_steps(pipe, files[0])
    for n in (0, 1, 2, 13):
        with pytest.warns(UserWarning, match=f"{n} of 40 bytes"):
            part = decode(pipe, files[0][:HEADER + n], "pt")
        assert torch.allclose(part, steps[n//2], atol=1e-4)


def levels(a, b): return ((a - b).abs().max()*127.5).item()


def test_threads_change_no_grey_level(pipe, x0, files, whole):
    n = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = decode(pipe, files[0], "pt")
        torch.set_num_threads(2)
        two = decode(pipe, files[0], "pt")
        assert torch.equal(decode(pipe, whole, "pt"), x0[0])
    finally: torch.set_num_threads(n)
    assert levels(one, two) < 1


def test_noise_changes_no_grey_level(pipe, files):
    "Float32 noise of 1e-5 in every jump."
    codec, g = _Codec(pipe), torch.Generator().manual_seed(0)
    exact = codec.jump
    codec.jump = lambda *a: exact(*a) + 1e-5*torch.randn(a[0].shape, generator=g)
    with torch.inference_mode(): near = _decode(codec, [unpack(f) for f in files])
    for file, steps in zip(files, near): assert levels(steps[-1], decode(pipe, file, "pt")) < 1


@pytest.mark.slow
def test_a_compiled_network_changes_no_grey_level(pipe, x0, files, whole):
    other = DDPMPipeline.from_pretrained("fashion-mnist")
    other.set_progress_bar_config(**quiet)
    other.unet.compile()                             # its weights keep their names
    assert levels(decode(other, files[0], "pt"), decode(pipe, files[0], "pt")) < 1
    found, sentence = told(lambda: decode(other, whole, "pt"))
    assert torch.equal(found, x0[0]) or "exact pixels cannot be had" in sentence


def in_half(dtype):
    "The bundled pipeline with its weights rounded."
    low = DDPMPipeline.from_pretrained("fashion-mnist", torch_dtype=dtype)
    low.set_progress_bar_config(**quiet)
    return low


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_bundled_model_in_half_precision_opens_the_same_files(pipe, files, dtype):
    "Its weights are exact in eight significant bits, and the codec computes in float32."
    low = in_half(dtype)
    for file in files: assert levels(decode(low, file, "pt"), decode(pipe, file, "pt")) < 1
    picture = decode(pipe, files[0], "pt")
    assert encode(low, picture, 10) == encode(pipe, picture, 10)


def test_weights_that_are_rounded_need_force_and_are_near(pipe, x0):
    """Where eight bits are too few, rounded weights are another model; what it decodes is off by
    some levels, and better than what the right model makes of half the bytes."""
    full = DDPMPipeline(copy.deepcopy(pipe.unet), pipe.scheduler)
    full.set_progress_bar_config(**quiet)
    with torch.no_grad():
        for weight in full.unet.parameters(): weight.mul_(1 + 2**-10)
    calibrate(full, x0)
    files, low = encode(full, x0), DDPMPipeline(copy.deepcopy(full.unet).bfloat16(), pipe.scheduler)
    low.set_progress_bar_config(**quiet)
    low.coding = calibration(full)
    with pytest.raises(ValueError, match="other weights"): decode(low, files[0])
    calibrate(low, x0)
    low.coding = {**calibration(full), "weights": low.coding["weights"]}
    with pytest.raises(ValueError, match="another model"): decode(low, files[0])
    for file, image in zip(files, x0):
        steps, near = decode_steps(full, file), decode(low, file, "pt", force=True)
        assert rmse(steps[-1], image) < rmse(near, image) < rmse(steps[len(steps)//2], image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_changes_no_grey_level(x0, dtype, monkeypatch):
    "It codes in float32 with its own weights: the same network, made wide, makes the same picture."
    low = in_half(dtype)
    low.unet.train()
    calibrate(low, x0)
    files, wide = encode(low, x0, 40), DDPMPipeline(copy.deepcopy(low.unet).float(), low.scheduler)
    wide.set_progress_bar_config(**quiet)
    calibrate(wide, x0)
    assert wide.coding == low.coding and low.dtype == dtype and low.unet.training
    for file in files: assert levels(decode(low, file, "pt"), decode(wide, file, "pt")) < 1
    monkeypatch.setattr("ddpm_edu.progressive_coding._in_float32", lambda pipe: pipe)
    off = [levels(decode(low, file, "pt"), decode(wide, file, "pt")) for file in files]
    assert dtype == torch.float16 or min(off) > 1                 # in the arithmetic of bf16


def test_autocast_changes_no_grey_level(pipe, x0, files):
    exact = decode(pipe, files[0], "pt")
    with torch.autocast("cpu", torch.bfloat16):
        assert levels(decode(pipe, files[0], "pt"), exact) < 1
        rough = pipe.unet(x0, 999).sample
        file = encode(pipe, x0[0], 10)
    assert not torch.allclose(rough.float(), pipe.unet(x0, 999).sample, atol=1e-4)
    assert file == encode(pipe, x0[0], 10)


def test_weights_stored_in_one_type_and_used_in_another_code_as_their_owner_arranged(x0):
    low = in_half(torch.bfloat16)
    low.unet.enable_layerwise_casting()              # eight bits in store, bf16 in use
    calibrate(low, x0)
    file = encode(low, x0[0], 10)
    assert low.dtype == torch.bfloat16 and decode(low, file, "pt").isfinite().all()


def test_half_precision_on_the_disk_is_the_same_model(pipe, files, tmp_path):
    pipe.save_pretrained(tmp_path, dtype=torch.float16)
    again = DDPMPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(**quiet)
    assert json.loads((tmp_path/"coding.json").read_text()) == calibration(pipe)
    assert torch.allclose(decode(again, files[0], "pt"), decode(pipe, files[0], "pt"), atol=1e-4)


@pytest.mark.parametrize("image", [-1., 1., "noise", "steps"])
def test_what_is_no_garment_ends_too(pipe, image):
    "Black, white, noise, and noise of the two extremes."
    noise = torch.randn(1, 28, 28, generator=torch.Generator().manual_seed(0))
    x = {"noise": noise.clamp(-1, 1), "steps": noise.sign()}.get(image, torch.full_like(noise, 0))
    if isinstance(image, float): x = torch.full_like(noise, image)
    file = encode(pipe, x, 20)
    seen = decode(pipe, file, "pt")
    assert HEADER < len(file) <= HEADER + 20 and seen.isfinite().all() and seen.abs().max() <= 1


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_colours_and_predictions(kind):
    from refusals.coding import TINY
    unet = {**TINY["unet"], "sample_size": 32, "in_channels": 3, "out_channels": 3}
    config = {"unet": unet, "scheduler": dict(prediction_type=kind)}
    rgb = DDPMPipeline.from_config(config)
    rgb.set_progress_bar_config(**quiet)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))*2 - 1
    calibrate(rgb, x)
    said = unpack(encode(rgb, x[0], 8))                # no claim on rate: it may stop at once
    file = pack(said.schedule, said.model, [1, 2, 3, 65535])
    assert len(said.indices) <= 4 and decode(rgb, file).mode == "RGB"
    with pytest.warns(UserWarning): part = decode(rgb, file[:HEADER + 4], "pt")
    assert part.shape == x[0].shape and torch.allclose(part, decode_steps(rgb, file)[2], atol=1e-4)


def test_a_call_changes_nothing_that_another_can_see():
    pipe, x = ready(), torch.zeros(1, 8, 8)
    pipe.unet.train()
    state, before = torch.get_rng_state(), encode(pipe, x, 6)
    assert torch.equal(state, torch.get_rng_state()) and pipe.unet.training
    assert encode(pipe, x, 6) == before and not decode(pipe, before, "pt").is_inference()


def told(act):
    "What it returns, and the warnings as one text."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = act()
    return found, " ".join(str(w.message) for w in said)


def test_every_pixel_comes_back(pipe, x0, whole):
    steps = decode_steps(pipe, whole)
    assert len(steps) == 12 and torch.equal(steps[-1], x0[0]) and rmse(steps[-2], x0[0]) > 1
    assert torch.equal(decode(pipe, whole, "pt"), x0[0])
    image = decode(pipe, whole)
    assert (torch.tensor(list(image.tobytes())).view(1, 28, 28)/127.5 - 1 == x0[0]).all()
    assert unpack(whole).whole and len(whole) > HEADER + 20 + TAIL
    both = decode(pipe, [whole, encode(pipe, x0[1], 4)], "pt")       # beside one without a tail
    assert torch.equal(both[0], x0[0]) and not torch.equal(both[1], x0[1])


def test_a_cut_tail_is_a_prefix_and_says_so(pipe, whole):
    before = decode_steps(pipe, whole)[:-1]
    for n in (HEADER, HEADER + 7, HEADER + 20, HEADER + 22, HEADER + 20 + TAIL, len(whole) - 1):
        part, sentence = told(lambda: decode(pipe, whole[:n], "pt"))
        assert "shortened" in sentence and "without the exact pixels" in sentence
        assert torch.allclose(part, before[min(10, (n - HEADER)//2)], atol=1e-4)


def test_damaged_tails_are_never_pictures_with_every_pixel(pipe, whole):
    "Each flipped bit is refused, or the file is taken for a shortened one, which is said."
    g, n = random.Random(2), len(whole)
    begin = range(8*(HEADER + 20), 8*(HEADER + 20 + TAIL))
    places = [*begin, *(g.randrange(8*n) for _ in range(500))]
    for k in places:
        damaged = bytearray(whole)
        damaged[k//8] ^= 1 << k % 8
        file, sentence = told(lambda: None if refused(bytes(damaged)) else unpack(bytes(damaged)))
        assert file is None or ("shortened" in sentence and not file.tail and not file.whole), k


def test_a_checksum_that_fits_by_chance_is_not_enough(pipe, x0, whole):
    "A damaged tail whose file was packed again: the pixels have a checksum of their own."
    file, before = unpack(whole), decode_steps(pipe, whole)[:-1]
    for k in range(3, len(file.tail), 9):
        tail = bytearray(file.tail)
        tail[k] ^= 1 + k % 255
        again = pack(file.schedule, file.model, file.indices, bytes(tail))
        picture, sentence = told(lambda: decode(pipe, again, "pt"))
        exact = torch.equal(picture, x0[0])                  # bits that nobody reads may flip
        assert exact or "exact pixels cannot be had" in sentence
        assert exact or torch.allclose(picture, before[-1], atol=1e-4)


@pytest.mark.parametrize("kind", ["black", "white", "noise", "colour"])
def test_tails_of_what_is_no_garment(kind):
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (3, 9, 7), generator=g, dtype=torch.uint8)
    if kind in ("black", "white"): pixels = torch.full_like(pixels, 255*(kind == "white"))
    guess = torch.rand(pixels.shape, generator=g)*2 - 1 if kind == "noise" else pixels/127.5 - 1
    tail = encode_pixels(pixels, guess)
    assert torch.equal(decode_pixels(tail, guess), pixels)
    assert len(tail) < TAIL + 189*(1.3 if kind == "noise" else 0.5)


def test_tables_are_the_same_for_ever():
    "As the candidates: other numbers would make old files unreadable."
    assert table(20, 7, 14)[78:84] == TABLE and len(table(0, 0, 0)) == 257
    for cell in (0, 1, 30, 63, 64):
        for position in (0, 63, 64, 255):
            bounds = torch.tensor(table(cell, position, 39))
            assert bounds[0] == 0 and bounds[-1] == TOTAL and (bounds.diff() >= 1).all()


TABLE = [4014, 7606, 13070, 20414, 29137, 38291]


def test_a_lossless_file_for_another_model_says_why(pipe, x0, whole):
    other = DDPMPipeline.from_config("fashion-mnist")
    other.set_progress_bar_config(**quiet)
    calibrate(other, x0)
    picture, sentence = told(lambda: decode(other, whole, "pt", force=True))
    assert "exact pixels cannot be had" in sentence and rmse(picture, x0[0]) > 10


def test_walsh_is_the_hadamard_matrix():
    H = torch.ones(1, 1)
    for _ in range(6): H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    x = torch.randint(-9, 9, (3, 64), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(walsh(x), x @ H) and not torch.equal(walsh(x), x @ H.flip(0))


def test_candidates_are_the_same_for_ever():
    "Numbers that must never change, or old files become other pictures."
    z = Candidates(784)(torch.tensor([0, 12345, 65535]), 7)*32
    assert z[:, :6].int().tolist() == PINNED
    assert not torch.equal(z, Candidates(784)(torch.tensor([0, 12345, 65535]), 8)*32)


PINNED = [[-36, 32, -16, 56, 68, 4], [12, 0, 4, 4, -24, -24], [26, -14, 34, 70, -2, -14]]


def test_a_long_file_of_another_schedule_is_damaged():
    pipe = ready()
    model = unpack(encode(pipe, torch.zeros(1, 8, 8), 2)).model
    many = pack(0, model, [0]*255)
    with pytest.raises(ValueError, match="its schedule has"): decode(pipe, many)
    with pytest.raises(ValueError, match="not calibrated"): decode(made(), many)


def names(folder): return sorted(p.name for p in folder.iterdir())


def test_commands_keep_the_original(tmp_path, pipe, x0):
    picture = decode(pipe, encode(pipe, x0[0], 4))
    picture.resize((50, 40)).convert("RGB").save(tmp_path/"a.png")
    before = (tmp_path/"a.png").read_bytes()
    compress(str(tmp_path/"a.png"), max_bytes=6)
    decompress(str(tmp_path/"a.png.ddpm"))
    assert names(tmp_path) == ["a.png", "a.png.ddpm", "a.png.png"]
    assert (tmp_path/"a.png").read_bytes() == before
    assert Image.open(tmp_path/"a.png.png").size == (28, 28)


def test_commands_write_nothing_when_they_refuse(tmp_path):
    for folder in ("x", "y", "out"): (tmp_path/folder).mkdir()
    for folder in ("x", "y"): Image.new("L", (28, 28)).save(tmp_path/folder/"a.png")
    with pytest.raises(ValueError, match="two files"):
        compress(str(tmp_path), str(tmp_path/"out"))
    with pytest.raises(NotADirectoryError, match="is a file"):
        compress(str(tmp_path/"x"), str(tmp_path/"x"/"a.png"))
    with pytest.raises(ValueError, match="at least one picture"): compress()
    with pytest.raises(FileNotFoundError, match="does not exist"): compress(str(tmp_path/"z.png"))
    with pytest.raises(ValueError, match="PNG picture"):
        decompress(str(tmp_path/"x"/"a.png"), str(tmp_path/"out"/"b.png"))
    assert names(tmp_path/"out") == [] and names(tmp_path/"x") == ["a.png"]


def test_commands_lose_nothing(tmp_path, x0):
    shop = Image.fromarray(((x0[0, 0] + 1)*127.5).round().byte().numpy())
    shop.save(tmp_path/"a.png")
    assert cli.main(["compress", str(tmp_path/"a.png"), "--lossless", "--max-bytes", "8"]) == 0
    assert cli.main(["decompress", str(tmp_path/"a.png.ddpm")]) == 0
    assert Image.open(tmp_path/"a.png.png").tobytes() == shop.tobytes()


def test_several_pictures_and_the_demonstration(tmp_path):
    for name, gray in (("a", 30), ("b", 220)):
        Image.new("L", (28, 28), gray).save(tmp_path/f"{name}.png")
    pictures = [str(tmp_path/"a.png"), str(tmp_path/"b.png")]
    assert cli.main(["compress", *pictures, "--out", str(tmp_path/"new"), "--max-bytes", "4"]) == 0
    assert names(tmp_path/"new") == ["a.png.ddpm", "b.png.ddpm"]
    assert (tmp_path/"new"/"a.png.ddpm").read_bytes() != (tmp_path/"new"/"b.png.ddpm").read_bytes()
    assert cli.main(["compress", "--demo", "--out", str(tmp_path/"sheet")]) == 0
    assert Image.open(tmp_path/"sheet"/"demo.png").size[0] > 600
    assert cli.main(["compress"]) == 1


def test_a_file_for_each_picture_of_an_array():
    "As of a batch of tensors: one file would lose the others."
    pipe, x = ready(), torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    arrays, files = x.movedim(1, -1).numpy(), encode(pipe, x.float()/127.5 - 1, 4)
    assert encode(pipe, arrays, 4) == files and encode(pipe, arrays[1], 4) == files[1]
    some = dict(effort=np.int64(3), rmse=np.float32(0), batch_size=np.int64(2))
    assert encode(pipe, arrays, np.int64(4), **some) == files


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_defaults_of_torch_change_no_byte(dtype, tmp_path):
    "Neither when a file is written, nor when it is read, nor when a model is calibrated or loaded."
    pipe, x = ready(), torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8).float()/127.5 - 1
    pipe.save_pretrained(tmp_path)
    found, files = calibrate(pipe, x, folder=tmp_path), encode(pipe, x, 6, lossless=True)
    seen = decode(pipe, files, "pt")
    try:
        torch.set_default_dtype(dtype)
        again = DDPMPipeline.from_pretrained(tmp_path)
        again.set_progress_bar_config(disable=True)
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
            assert encode(again, x, 6, lossless=True) == files
            assert all(map(torch.equal, decode(again, files, "pt"), seen))
            assert calibrate(again, x) == found
    finally: torch.set_default_dtype(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):            # negative control: it would be seen
        t = torch.tensor([9])
        rough = pipe.unet(x[:1], t).sample.float()
    assert not torch.equal(rough, pipe.unet(x[:1], t).sample)


def test_a_second_pipeline_of_the_same_network_is_calibrated():
    pipe, x = ready(), torch.zeros(1, 8, 8)
    second = DDPMPipeline.from_pipe(pipe)
    second.set_progress_bar_config(disable=True)
    assert encode(second, x, 4) == encode(pipe, x, 4)


@pytest.mark.parametrize("kind", ["sequential", "model"])
def test_weights_that_wait_elsewhere(kind, tmp_path):
    "Bits, files and many images of a network whose layers show no numbers."
    from ddpm_edu.bits import bits_per_dim
    from ddpm_edu.many import sample_many
    pipe, away, x = ready(), ready(), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    away.unet.load_state_dict(pipe.unet.state_dict())
    away.coding = pipe.coding
    getattr(away, f"enable_{kind}_cpu_offload")(device="cpu")
    def all_of(p):
        bits = bits_per_dim(p, x, groups=2, generator=torch.Generator().manual_seed(0))
        sample_many(p, 2, tmp_path/"x", num_inference_steps=2)         # the second is no other run
        return bits.mean, encode(p, x/127.5 - 1, 4), calibrate(p, x/127.5 - 1)
    assert all_of(pipe) == all_of(away)


def test_the_endings_and_the_names_of_files(tmp_path):
    "A long name fits if it fits with its ending; a place that cannot be written is told at once."
    name = "e"*240 + ".png"
    Image.new("L", (28, 28)).save(tmp_path/name)
    told(lambda: compress(str(tmp_path/name), max_bytes=2, effort=1))
    told(lambda: decompress(f"{tmp_path/name}.ddpm"))
    assert len(list(tmp_path.iterdir())) == 3
