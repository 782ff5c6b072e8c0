"""A network run without its skip connections, whatever its family: each sum loses the summand that came a shorter way.

How many layers lie behind a tensor is followed as the network runs; nothing is known of modules or of their names, and
nothing of the network is changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_SUMS = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__"})
_CUTS = frozenset({"split", "chunk", "tensor_split", "unbind", "narrow", "select", "__getitem__"})
_LAYERS = frozenset({"linear", *(f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3))})
_BEHIND = "_layers_behind"
_PART = "_is_a_part"


class WithoutSkips(TorchFunctionMode):
    """While it is entered, the sum of two tensors of one shape with different numbers of layers behind them is the one
    with more: the other is a skip, also where it was projected. Behind `images` there are none. A part that was cut out
    of a tensor is no skip: without it, it would be lost (as in the blocks of a Res2Net).

    A layer is a convolution or a linear map, and of the ways to a tensor the longest counts. `skips` is how many
    summands were left out so far.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.skips = 0
        setattr(images, _BEHIND, 0)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in _SUMS and len(args) > 1 and (longer := _longer(args[0], args[1])) is not None:
            self.skips += 1
            return longer
        result = function(*args, **(kwargs or {}))
        behind = [layers for one in _tensors((args, kwargs or {})) if (layers := layers_behind(one)) is not None]
        if behind:
            for made in _tensors(result):
                setattr(made, _BEHIND, max(behind) + (name in _LAYERS))
                setattr(made, _PART, name in _CUTS)
        return result


def layers_behind(tensor: Tensor) -> int | None:
    """The layers on the longest way from the images to a tensor; None where it does not come from them, or by a
    function that torch cannot follow.
    """
    found: int | None = getattr(tensor, _BEHIND, None)
    return found


def _longer(one: Any, other: Any) -> Tensor | None:
    """Of two summands the one with more layers behind it, if they are a sum of that kind."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.shape != other.shape:
        return None
    first, second = layers_behind(one), layers_behind(other)
    if first is None or second is None or first == second:
        return None
    longer, shorter = (one, other) if first > second else (other, one)
    return None if getattr(shorter, _PART, False) else longer


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
