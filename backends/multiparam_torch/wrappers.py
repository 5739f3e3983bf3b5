"""What PyTorch puts around a module, whose names stay those of what is inside."""

from __future__ import annotations

import sys
from functools import lru_cache

# where each sort of wrapper is defined, and how it calls what it wraps; not imported for that, some being large
_WRAPPERS = {
    ("torch.nn.parallel", "DataParallel"): "module",
    ("torch.nn.parallel", "DistributedDataParallel"): "module",
    ("torch.optim.swa_utils", "AveragedModel"): "module",
    ("torch._dynamo.eval_frame", "OptimizedModule"): "_orig_mod",
    ("torch.distributed.fsdp", "FullyShardedDataParallel"): "_fsdp_wrapped_module",
    ("torch.distributed.algorithms._checkpoint.checkpoint_wrapper", "ActivationWrapper"): "_checkpoint_wrapped_module",
}


@lru_cache(maxsize=4096)
def wrapping(native: type) -> str:
    """How a class of wrappers calls the module it wraps; empty of a class that is none.

    A child of that name alone makes no wrapper: users call theirs so too.

    >>> wrapping(nn.DataParallel), wrapping(nn.Sequential)
    ('module', '')
    """
    for (module, name), key in _WRAPPERS.items():
        wrapper = getattr(sys.modules.get(module), name, None)  # what is not imported has no instances
        if wrapper is not None and issubclass(native, wrapper):
            return key
    return ""
