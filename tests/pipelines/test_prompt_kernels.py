"""Kernels are taken for ready when their answer was published, asked again when it was not."""

import asyncio
from queue import Empty

import pytest

from pipelines.runs.prompt import PromptClient


class Channel:
    """Hands out what a kernel said, in order; None stands for silence until the time-out."""

    def __init__(self, *said):
        self.said = list(said)

    async def get_msg(self, timeout):
        assert timeout > 0
        if not self.said or (message := self.said.pop(0)) is None:
            raise Empty
        return message


class Kernel(PromptClient):
    """The client of a kernel that says what the test wrote down."""

    shell_channel = iopub_channel = None
    alive, asked, handled = True, 0, None

    def kernel_info(self, reply=False, timeout=None):
        self.asked += 1
        return f"request-{self.asked}"

    async def _async_is_alive(self):
        return self.alive

    def _handle_kernel_info_reply(self, msg):
        self.handled = msg


def reply(number):
    return {
        "msg_type": "kernel_info_reply",
        "parent_header": {"msg_id": f"request-{number}"},
        "content": {},
    }


def status(state, number):
    return {"content": {"execution_state": state}, "parent_header": {"msg_id": f"request-{number}"}}


def ready(shell, iopub, *, alive=True, timeout=60.0):
    kernel = Kernel()
    kernel.shell_channel, kernel.iopub_channel = Channel(*shell), Channel(*iopub)
    kernel.alive = alive
    asyncio.run(kernel.wait_for_ready(timeout))
    return kernel


def test_a_kernel_is_ready_when_the_end_of_its_answer_is_published_and_nothing_more_is_awaited():
    told = [{"content": {"execution_state": "starting"}, "parent_header": {}}]
    told += [status("busy", 1), status("idle", 1), status("busy", 2)]
    kernel = ready([reply(1)], told)
    assert kernel.asked == 1
    assert kernel.handled == reply(1)
    assert kernel.iopub_channel.said == [status("busy", 2)]


def test_an_answer_that_nobody_heard_published_is_asked_for_again():
    kernel = ready([reply(1), reply(2)], [None, status("busy", 2), status("idle", 2)])
    assert kernel.asked == 2
    assert kernel.handled == reply(2)


def test_a_slow_kernel_answers_the_first_of_several_questions():
    kernel = ready([None, None, reply(1)], [status("busy", 1), status("idle", 1)])
    assert kernel.asked == 3
    assert kernel.handled == reply(1)


def test_a_kernel_that_dies_or_stays_silent_is_not_waited_for():
    with pytest.raises(RuntimeError, match="died"):
        ready([], [], alive=False)
    with pytest.raises(RuntimeError, match="didn't respond in 0 seconds"):
        ready([], [], timeout=0.0)
