"""Kernels that are ready when they say so and gone when they are, not tenths of a second later.

jupyter_client listens 0.2 s for messages that may be left from the start, and looks every 0.1 s
whether a kernel has ended. Two runs at a time on two cores leave both idle meanwhile.
"""

import time
from queue import Empty

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

_POLL_S = 0.01
_REPLY_S, _PUBLISHED_S = 1.0, 0.2  # as jupyter_client waits before it asks again


class PromptClient(AsyncKernelClient):
    """Takes a kernel for ready at its first answer that was also published."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Ask until the kernel answers and our subscription hears it.

        Raises:
            RuntimeError: it died, or did not answer in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.kernel_info()
            try:
                reply = await self.shell_channel.get_msg(timeout=_REPLY_S)
                if reply["msg_type"] == "kernel_info_reply":
                    await self._heard_idle(str(reply["parent_header"]["msg_id"]))
                    self._handle_kernel_info_reply(reply)
                    return
            except Empty:
                pass
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if deadline is not None and time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")

    async def _heard_idle(self, request: str) -> None:
        """Read what was published up to the end of a request; Empty if that is not heard."""
        while True:
            told = await self.iopub_channel.get_msg(timeout=_PUBLISHED_S)
            ended = told["content"].get("execution_state") == "idle"
            if ended and told["parent_header"].get("msg_id") == request:
                return


class PromptManager(AsyncKernelManager):
    """Looks often whether a kernel that was asked to end has ended."""

    def __init__(self, **given: object) -> None:
        """Take what the stock manager takes."""
        super().__init__(**given)
        self.client_factory = PromptClient

    async def _async_finish_shutdown(
        self, waittime: float | None = None, pollinterval: float = _POLL_S, restart: bool = False
    ) -> None:
        await super()._async_finish_shutdown(waittime, pollinterval, restart)
