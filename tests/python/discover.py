"""Drives `sealwire demo-server` through `sealwire connect` in revision 2026-07-28, with
the Python SDK.

Ends with 0 only if every answer was the expected one; prints each as it holds.
"""

import asyncio

from mcp import Client, StdioServerParameters
from mcp import types

PROMPT = "three words, please \u2713"


async def main() -> None:
    async def sampling(_context, params: types.CreateMessageRequestParams):
        assert PROMPT in params.messages[0].content.text, params
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(type="text", text="sampled by the client"),
            model="model-of-the-test",
        )

    async def elicitation(_context, _params):
        return types.ElicitResult(action="accept", content={"confirmed": True})

    client = Client(
        StdioServerParameters(command="sealwire", args=["connect", "demo"]),
        read_timeout_seconds=60,
        # Asked for in a result, and answered with the call made anew.
        sampling_callback=sampling,
        elicitation_callback=elicitation,
    )
    async with client:
        assert client.protocol_version == "2026-07-28", client.protocol_version
        held("protocol", client.protocol_version)

        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {"echo", "add", "ask", "confirm"} <= tools, tools
        held("tools/list", f"{len(tools)} tools")

        assert await call(client, "echo", {"text": PROMPT}) == PROMPT
        assert await call(client, "add", {"a": 17, "b": 25}) == "42"
        held("echo and add", PROMPT)

        assert await call(client, "ask", {"question": PROMPT}) == "sampled by the client"
        assert (await call(client, "confirm", {"question": PROMPT})).startswith("accept")
        held("sampling and elicitation", "answered by the client")


async def call(client: Client, tool: str, arguments: dict) -> str:
    result = await client.call_tool(tool, arguments)
    text = "".join(part.text for part in result.content if part.type == "text")
    assert not result.is_error, f"{tool}: {text}"
    return text


def held(what: str, detail: str) -> None:
    print(f"held: {what}: {detail}", flush=True)


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), timeout=120))
    print("all held")
