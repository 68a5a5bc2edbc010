"""Keys and values of the decoder's past tokens, written in place.

A row has a fixed number of slots. What a slot holds is decided by whoever writes: a token that is no longer seen is
overwritten, so the cost of a step does not grow with the length of an episode. Attention does not depend on the order
of the slots, because keys carry their position and the mask says who sees whom::

    slots of one row    [ prefix ........ | frame 0 | frame 1 | … | frame t-1 ]
    frame t goes to                         ^ here, where frame 0 was
"""

from jaxtyping import Int64
from torch import Tensor


class KVCache:
    """Slots for keys and values of every decoder layer; memory is taken at the first write.

    Args:
        num_rows: r, sequences held.
        num_slots: tokens per sequence.
    """

    def __init__(self, num_rows: int, num_slots: int) -> None:
        self.num_rows, self.num_slots = num_rows, num_slots
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._rows: Tensor | None = None
        self._slots: Tensor | None = None
        self._positions: Tensor | None = None

    def aim(self, slots: Int64[Tensor, "f s"], rows: Int64[Tensor, "f"] | None = None) -> None:
        """Say where the tokens of the next decoder call go.

        Args:
            slots: for every row of the call, the slot of each token.
            rows: the rows of the cache that the call is about; None = all of them, in order.
        """
        self._slots, self._rows = slots, rows

    def update(self, key: Tensor, value: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """Write keys and values [f, heads, s, width] of one layer; return all slots, [f, heads, S, width]."""
        if layer_idx not in self._layers:
            shape = (self.num_rows, key.shape[1], self.num_slots)
            self._layers[layer_idx] = (key.new_zeros(*shape, key.shape[-1]), value.new_zeros(*shape, value.shape[-1]))
        return self._write(self._layers[layer_idx][0], key), self._write(self._layers[layer_idx][1], value)

    def place(self, positions: Int64[Tensor, "f s"]) -> Int64[Tensor, "f S"]:
        """Remember the positions of the aimed tokens; return those of all slots of the rows."""
        if self._positions is None:
            self._positions = positions.new_zeros(self.num_rows, 1, self.num_slots, 1)
        return self._write(self._positions, positions[:, None, :, None])[:, 0, :, 0]

    def clear(self, rows: Int64[Tensor, "f"]) -> None:
        """Forget what some rows hold."""
        for buffers in self._layers.values():
            for buffer in buffers:
                buffer[rows] = 0

    def move(self, num_slots: int, target: Int64[Tensor, "S"]) -> "KVCache":
        """A larger cache that holds slot i of this one at `target[i]`."""
        moved = KVCache(self.num_rows, num_slots)
        for layer, buffers in self._layers.items():
            moved._layers[layer] = tuple(_moved(buffer, num_slots, target) for buffer in buffers)
        if self._positions is not None:
            moved._positions = _moved(self._positions, num_slots, target)
        return moved

    def _write(self, buffer: Tensor, new: Tensor) -> Tensor:
        assert self._slots is not None, "aim before the decoder is called"
        if self._rows is None:
            index = self._slots[:, None, :, None].expand_as(new)
            return buffer.scatter_(2, index, new.to(buffer.dtype))
        buffer[self._rows[:, None], :, self._slots] = new.transpose(1, 2).to(buffer.dtype)
        return buffer[self._rows]


def _moved(buffer: Tensor, num_slots: int, target: Tensor) -> Tensor:
    larger = buffer.new_zeros(*buffer.shape[:2], num_slots, buffer.shape[-1])
    larger[:, :, target] = buffer
    return larger
