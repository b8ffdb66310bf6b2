"""Be another program, which may change modules of the repository before they are read: `python -m … MODULE`.

For processes that were forked from one that has read them. What is shared stays as it was read: reading all
of it anew takes longer than a service takes to start.
"""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    module = sys.argv.pop(1)
    for name in [name for name in sys.modules if name.partition(".")[0] == "repository"]:
        del sys.modules[name]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
