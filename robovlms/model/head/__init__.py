"""Action heads. A new one is one file and one line here."""

from robovlms.model.head.base import BasePolicyHead
from robovlms.model.head.fc import FCDecoder
from robovlms.model.head.lstm import LSTMDecoder

HEADS: dict[str, type[BasePolicyHead]] = {"fc": FCDecoder, "lstm": LSTMDecoder}

__all__ = ["HEADS", "BasePolicyHead", "FCDecoder", "LSTMDecoder"]
