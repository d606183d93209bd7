"""An accelerator for machines that have none: its tensors hold numbers, and refuse what others do.

`far(x)` puts a tensor there; inside `with accelerator():` the device `FAR` can be asked for by name.
Refused are float64 (as MPS does), operations on tensors of both places, and drawing there with a
generator of the CPU."""
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

FAR = torch.device("meta")                # a name that no machine uses for computing
PLAIN = torch.Tensor


class Far(torch.Tensor):
    "A tensor of the accelerator: a CPU tensor underneath, seen by nobody else."
    device = property(lambda self: FAR)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


class accelerator(TorchFunctionMode):
    "Where `FAR` is a device that tensors can be made on and moved to."
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


def near(x):
    "What lies underneath."
    with torch._C.DisableTorchFunctionSubclass():
        return x.as_subclass(PLAIN) if isinstance(x, Far) else x


def far(x):
    "On the accelerator."
    if not isinstance(x, PLAIN) or isinstance(x, Far): return x
    if x.dtype == torch.float64: raise TypeError("the accelerator has no float64")
    with torch._C.DisableTorchFunctionSubclass(): return x.as_subclass(Far)


def move(x, *args, **kwargs):
    "`Tensor.to`: where to, and in which type."
    if args and isinstance(args[0], PLAIN): place, dtype = args[0].device, args[0].dtype
    else: place, dtype = torch._C._nn._parse_to(*args, **kwargs)[:2]
    there = isinstance(x, Far) if place is None else place.type == FAR.type
    y = near(x) if dtype is None else near(x).to(dtype)
    return far(y) if there else y


def run(function, args, kwargs):
    "Do it on what lies underneath, after the refusals, and say where the result is."
    if function is PLAIN.to: return move(*args, **kwargs)
    if function is PLAIN.cpu: return near(args[0])
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, PLAIN)]
    place, indexing = kwargs.get("device"), function is PLAIN.__getitem__
    asked = isinstance(place, (str, torch.device)) and torch.device(place).type == FAR.type
    moved = function is torch.as_tensor
    here = [x for x in tensors if not isinstance(x, Far) and x.ndim]
    there = any(isinstance(x, Far) for x in tensors)
    allowed = moved or (indexing and isinstance(args[0], Far))      # an index may lie on the CPU
    if there and here and not allowed: raise RuntimeError(f"tensors on two devices ({function})")
    generator = kwargs.get("generator")
    if asked and generator is not None and generator.device.type != FAR.type:
        raise RuntimeError("a generator of the CPU cannot draw on the accelerator")
    kwargs = {k: v for k, v in kwargs.items() if k != "device" or not asked}
    under = near if function is not torch.autograd.grad else lambda x: x     # the graph knows these
    with torch._C.DisableTorchFunctionSubclass():
        result = function(*tree_map(under, args), **tree_map(under, kwargs))
    stays = asked or (there and not (moved and place is not None))
    return tree_map(far, result) if stays else result
