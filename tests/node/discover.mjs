// Drives `sealwire demo-server` through `sealwire connect` in revision 2026-07-28, with
// the second generation of the TypeScript SDK.
//
// Ends with 0 only if every answer was the expected one; prints each as it holds.

import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const transport = new StdioClientTransport({ command: "sealwire", args: ["connect", "demo"] });

const PROMPT = "three words, please \u2713";
const held = (what, detail) => console.log(`held: ${what}: ${detail}`);

const client = new Client(
  { name: "sealwire-tests", version: "0" },
  {
    capabilities: { sampling: {}, elicitation: { form: {} } },
    versionNegotiation: { mode: "auto" },
  },
);
// Asked for in a result, and answered with the call made anew.
client.setRequestHandler("sampling/createMessage", async ({ params }) => {
  assert.ok(JSON.stringify(params).includes(PROMPT), JSON.stringify(params));
  const content = { type: "text", text: "sampled by the client" };
  return { role: "assistant", content, model: "model-of-the-test", stopReason: "endTurn" };
});
client.setRequestHandler("elicitation/create", async () => {
  return { action: "accept", content: { confirmed: true } };
});

async function call(name, args) {
  const result = await client.callTool({ name, arguments: args });
  const text = result.content.map((part) => part.text ?? "").join("");
  assert.ok(!result.isError, `${name}: ${text}`);
  return text;
}

await client.connect(transport);
assert.equal(client.getNegotiatedProtocolVersion(), "2026-07-28");
held("protocol", client.getNegotiatedProtocolVersion());

const tools = (await client.listTools()).tools.map((tool) => tool.name);
assert.ok(tools.includes("echo") && tools.includes("ask"), `${tools}`);
held("tools/list", tools.length);

assert.equal(await call("echo", { text: PROMPT }), PROMPT);
assert.equal(await call("add", { a: 17, b: 25 }), "42");
held("echo and add", PROMPT);

assert.equal(await call("ask", { question: PROMPT }), "sampled by the client");
assert.ok((await call("confirm", { question: PROMPT })).startsWith("accept"));
held("sampling and elicitation", "answered by the client");

await client.close();
console.log("all held");
