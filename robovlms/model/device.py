"""Which hardware to compute on, and in which precision."""

import torch

from robovlms.errors import ConfigError


def resolve_device(name: str, where: str) -> torch.device:
    """ "auto" is CUDA if there is one, else the CPU.

    Args:
        name: "auto", or a device of torch.
        where: key of the configuration, for the message.

    Raises:
        ConfigError: if the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{where} {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def resolve_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16; "auto" only where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
