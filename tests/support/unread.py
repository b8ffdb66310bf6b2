"""Be another program, which may change our modules before others read them: `python -m … MODULE`.

For processes that were forked from one that has read them.
"""

from __future__ import annotations

import runpy
import sys

_OURS = frozenset({"audit_repository", "imaging_source", "registry", "repository", "shared", "xdsi"})


def main() -> None:
    module = sys.argv.pop(1)
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
