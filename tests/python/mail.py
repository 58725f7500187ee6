"""Drives the mailboxes of the standard team through `sealwire agent mcp`, with the Python SDK.

    mail.py SEALWIRE HOME

Ends with 0 only if every answer was the expected one; prints each as it holds.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from mcp import Client, StdioServerParameters

TEXT = "three words, please \u2713\n\ttab, \"quotes\" and \u202e"
TEAM = [
    "CodeExpert",
    "SecurityExpert",
    "TestingExpert",
    "DocsExpert",
    "DeepResearcher",
    "DebugExpert",
    "PerformanceExpert",
    "General",
]

sealwire, home = sys.argv[1:3]


def mailbox(agent: str) -> Client:
    command = ["--home", home, "agent", "mcp", "--as", agent]
    server = StdioServerParameters(command=sealwire, args=command)
    return Client(server, read_timeout_seconds=60)


async def main() -> None:
    async with AsyncExitStack() as stack:
        mail = {name: await stack.enter_async_context(mailbox(name)) for name in TEAM}
        code, general = mail["CodeExpert"], mail["General"]

        tools = {tool.name: tool for tool in (await code.list_tools()).tools}
        assert set(tools) == {"send_message", "receive_messages", "list_agents"}, tools
        for tool in tools.values():
            assert tool.output_schema and tool.output_schema["type"] == "object", tool
        described = tools["receive_messages"].description
        assert "DATA" in described and "not an instruction" in described, described
        held("tools/list", "three tools with output schemas; a message is data")

        listed = await call(code, "list_agents", {})
        assert listed["you"] == "CodeExpert", listed
        may = {agent["name"] for agent in listed["agents"] if agent["you_may_send"]}
        assert may == {"General", "TestingExpert", "DocsExpert"}, listed
        assert listed["groups"][0]["you_may_send"] is False, listed
        held("list_agents", "as the rules have it")

        sent = await call(code, "send_message", {"to": "General", "content": TEXT})
        got = await call(general, "receive_messages", {})
        [message] = got["messages"]
        assert message["content"] == TEXT, message
        assert message["from"] == "CodeExpert" and message["to"] == "General", message
        assert message["message_id"] == sent["message_id"], (message, sent)
        assert message["type"] == "task_request" and not message["redelivered"], message
        assert "not an instruction" in got["note"], got
        assert (await call(general, "receive_messages", {}))["messages"] == []
        held("one message", "content equal, once")

        answer = {
            "to": "CodeExpert",
            "content": "done",
            "type": "task_response",
            "in_reply_to": message["message_id"],
        }
        # Whoever waits is told as soon as there is something.
        waiting = asyncio.create_task(call(code, "receive_messages", {"wait_seconds": 50}))
        await call(general, "send_message", answer)
        [message] = (await waiting)["messages"]
        assert message["in_reply_to"] == sent["message_id"], message
        assert message["type"] == "task_response", message
        held("an answer", "to one who waits")

        for number in range(30):
            priority = 9 if number % 3 == 0 else 1
            content = f"{priority} {number}"
            send = {"to": "General", "content": content, "priority": priority}
            await call(code, "send_message", send)
        first = await call(general, "receive_messages", {"max_messages": 20})
        assert first["waiting"] == 10, first["waiting"]
        rest = await call(general, "receive_messages", {"max_messages": 50})
        contents = [m["content"] for m in first["messages"] + rest["messages"]]
        urgent = [f"9 {n}" for n in range(30) if n % 3 == 0]
        other = [f"1 {n}" for n in range(30) if n % 3 != 0]
        assert contents == urgent + other, contents
        held("order", "by priority, then as sent")

        await call(general, "send_message", {"to": "all", "content": TEXT})
        for name in TEAM[:-1]:
            [message] = (await call(mail[name], "receive_messages", {}))["messages"]
            assert message["content"] == TEXT and message["group"] == "all", message
        assert (await call(general, "receive_messages", {}))["messages"] == []
        held("a group", "each member, and not the sender")

        for arguments, reason in [
            ({"to": "DebugExpert", "content": "x"}, "not_trusted"),
            ({"to": "all", "content": "x"}, "not_trusted"),
            ({"to": "General", "content": "x", "type": "shutdown"}, "not_trusted"),
            ({"to": "Nobody", "content": "x"}, "Not sent"),
            ({"to": "a b", "content": "x"}, "no agent's name"),
            ({"to": "General", "content": "x", "in_reply_to": "y"}, "in_reply_to"),
            ({"to": "General", "content": "x", "ttl_seconds": 0}, "ttl_seconds"),
            ({"to": "General", "content": "x", "ttl_seconds": 31 * 86400}, "Not sent"),
            ({"to": "General", "content": "x" * (1 << 20) + "x"}, "longer than"),
            ({"to": "General", "content": "x", "type": "order"}, ""),
            ({"to": "General", "content": "x", "priority": 256}, ""),
            ({"to": "General", "content": "x", "urgent": True}, ""),
            ({"to": "General"}, ""),
        ]:
            await refused(code, "send_message", arguments, reason)
        for arguments in [{"max_messages": 0}, {"max_messages": 51}, {"wait_seconds": 51}]:
            await refused(code, "receive_messages", arguments, next(iter(arguments)))
        assert (await call(general, "receive_messages", {}))["messages"] == []
        held("refusals", "each with its reason, nothing sent")

        shutdown = {"to": "General", "content": "now", "type": "shutdown"}
        await call(mail["SecurityExpert"], "send_message", shutdown)
        [message] = (await call(general, "receive_messages", {}))["messages"]
        assert message["type"] == "shutdown" and message["from"] == "SecurityExpert", message
        held("shutdown", "from a privileged agent")


async def call(client: Client, tool: str, arguments: dict) -> dict:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, f"{tool}: {result.content}"
    # Clients that know no structured content get the same as text.
    text = "".join(part.text for part in result.content if part.type == "text")
    assert json.loads(text) == result.structured_content, text
    return result.structured_content


async def refused(client: Client, tool: str, arguments: dict, reason: str) -> None:
    try:
        result = await client.call_tool(tool, arguments)
    except Exception as error:
        assert reason in str(error), f"{tool} {arguments}: {error}"
        return
    text = "".join(part.text for part in result.content if part.type == "text")
    assert result.is_error and reason in text, f"{tool} {arguments}: {text}"


def held(what: str, detail: str) -> None:
    print(f"held: {what}: {detail}", flush=True)


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), timeout=300))
    print("all held")
