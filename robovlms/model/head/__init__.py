"""Action heads. A new one is one file and one line here."""

from robovlms.model.head.base import BasePolicyHead
from robovlms.model.head.discrete import DiscreteDecoder, Vocabulary
from robovlms.model.head.fc import FCDecoder
from robovlms.model.head.gpt import GPTDecoder
from robovlms.model.head.l1_chunk import L1ChunkDecoder
from robovlms.model.head.lstm import LSTMDecoder
from robovlms.model.head.pooling import adaptive_max_pool
from robovlms.model.head.trunk import TrunkHead

HEADS: dict[str, type[BasePolicyHead]] = {
    "fc": FCDecoder,
    "lstm": LSTMDecoder,
    "gpt": GPTDecoder,
    "discrete": DiscreteDecoder,
    "l1_chunk": L1ChunkDecoder,
}

__all__ = [
    "HEADS",
    "BasePolicyHead",
    "DiscreteDecoder",
    "FCDecoder",
    "GPTDecoder",
    "L1ChunkDecoder",
    "LSTMDecoder",
    "TrunkHead",
    "Vocabulary",
    "adaptive_max_pool",
]
