"""A jupyter_client kernel provisioner whose kernels are forked from a warm parent.

papermill, nbclient and Jupyter servers get it by the name of the kernel; nothing of them changes.
"""

import os
import resource
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Unicode

from pipelines.runs.warm import fork


class WarmProvisioner(LocalProvisioner):
    """Starts kernels as forks of a zygote; all else is the local provisioner's."""

    address = Unicode("", config=True, help="socket of the zygote")

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Ask the zygote for a kernel; the connection is a lease and ends with this process."""
        module = cmd.index("-m") + 1
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        with Path(os.devnull).open("rb") as nothing:
            leased = fork(
                self.address,
                cmd[module],
                cmd[module + 1 :],
                env=kwargs.get("env") or dict(os.environ),
                cwd=str(kwargs.get("cwd") or Path.cwd()),
                files={0: nothing.fileno(), 1: 1, 2: 2},
                memory_bytes=None if limit == resource.RLIM_INFINITY else limit,
            )
        self.process: Any = leased
        self.pid = self.pgid = leased.pid
        return self.connection_info
