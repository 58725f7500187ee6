"""Drives an MCP "everything" server with the Python SDK, through `sealwire connect` or
through the command given.

    everything.py [COMMAND [ARGUMENT...]]

Ends with 0 only if every answer was the expected one; prints each as it holds.
"""

import asyncio
import sys

from mcp import Client, StdioServerParameters
from mcp import types

PROMPT = "three words, please \u2713"


server = StdioServerParameters(command="sealwire", args=["connect", "everything"])


async def main(server: StdioServerParameters) -> None:
    seen: dict[str, int] = {"sampling": 0, "elicitation": 0}

    async def sampling(_context, params: types.CreateMessageRequestParams):
        seen["sampling"] += 1
        assert PROMPT in params.messages[0].content.text, params
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(type="text", text="sampled by the client"),
            model="model-of-the-test",
            stop_reason="endTurn",
        )

    async def elicitation(_context, params):
        seen["elicitation"] += 1
        assert "name" in params.requested_schema["properties"], params
        return types.ElicitResult(
            action="accept", content={"name": "Ada Lovelace", "check": True}
        )

    client = Client(
        server,
        read_timeout_seconds=60,
        sampling_callback=sampling,
        elicitation_callback=elicitation,
    )
    async with client:
        held("protocol", client.protocol_version)

        tools = {tool.name for tool in (await client.list_tools()).tools}
        expected = {"echo", "get-sum", "trigger-sampling-request", "trigger-elicitation-request"}
        assert expected <= tools, f"missing tools: {expected - tools}"
        held("tools/list", f"{len(tools)} tools")

        assert await call(client, "echo", {"message": PROMPT}) == f"Echo: {PROMPT}"
        held("echo", PROMPT)

        answer = await call(client, "get-sum", {"a": 17, "b": 25})
        assert answer == "The sum of 17 and 25 is 42.", answer
        held("get-sum", answer)

        answer = await call(
            client, "trigger-sampling-request", {"prompt": PROMPT, "maxTokens": 10}
        )
        assert "sampled by the client" in answer and "model-of-the-test" in answer, answer
        assert seen["sampling"] == 1, seen
        held("sampling", "answered by the client")

        answer = await call(client, "trigger-elicitation-request", {})
        assert "Ada Lovelace" in answer, answer
        assert seen["elicitation"] == 1, seen
        held("elicitation", "answered by the client")

        steps: list[tuple[float, float | None]] = []

        async def progress(done: float, total: float | None, _message: str | None) -> None:
            steps.append((done, total))

        answer = await call(
            client,
            "trigger-long-running-operation",
            {"duration": 0.2, "steps": 4},
            progress_callback=progress,
        )
        assert "completed" in answer, answer
        # The last notification and the answer may be handled in either order.
        while len(steps) < 4:
            await asyncio.sleep(0.01)
        assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)], steps
        held("progress", "4 of 4 notifications, in order")

        prompts = (await client.list_prompts()).prompts
        resources = (await client.list_resources()).resources
        assert prompts and resources
        held("prompts and resources", f"{len(prompts)} and {len(resources)}")


async def call(client: Client, tool: str, arguments: dict, **options) -> str:
    result = await client.call_tool(tool, arguments, **options)
    text = "".join(part.text for part in result.content if part.type == "text")
    assert not result.is_error, f"{tool}: {text}"
    return text


def held(what: str, detail: str) -> None:
    print(f"held: {what}: {detail}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:])
    asyncio.run(asyncio.wait_for(main(server), timeout=120))
    print("all held")
