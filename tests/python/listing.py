"""An MCP server whose tools and instructions are what a file says at that moment.

    listing.py DIRECTORY

`listing.json` in it has `instructions` and `pages`, lists of tools. Each tool that is called
leaves its name as a line in `calls`.
"""

import json
import sys
from pathlib import Path

import anyio
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

directory = Path(sys.argv[1])


def listing() -> dict:
    return json.loads((directory / "listing.json").read_text())


async def list_tools(_context, params) -> types.ListToolsResult:
    pages = listing()["pages"]
    page = int(params.cursor) if params is not None and params.cursor else 0
    more = str(page + 1) if page + 1 < len(pages) else None
    tools = [types.Tool.model_validate(tool) for tool in pages[page]]
    return types.ListToolsResult(tools=tools, next_cursor=more)


async def call_tool(_context, params) -> types.CallToolResult:
    with (directory / "calls").open("a") as calls:
        calls.write(params.name + "\n")
    return types.CallToolResult(content=[types.TextContent(type="text", text="done")])


async def main() -> None:
    server = Server(
        "listing",
        version="1",
        instructions=listing()["instructions"],
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


anyio.run(main)
