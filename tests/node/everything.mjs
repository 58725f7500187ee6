// Drives an MCP "everything" server through `sealwire connect`, with the TypeScript SDK.
//
// Ends with 0 only if every answer was the expected one; prints each as it holds.

import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const transport = new StdioClientTransport({
  command: "sealwire",
  args: ["connect", "everything"],
});

const PROMPT = "three words, please \u2713";
const seen = { sampling: 0, elicitation: 0 };
const held = (what, detail) => console.log(`held: ${what}: ${detail}`);

const client = new Client(
  { name: "sealwire-tests", version: "0" },
  { capabilities: { sampling: {}, elicitation: { form: {} } } },
);
client.setRequestHandler(CreateMessageRequestSchema, async ({ params }) => {
  seen.sampling += 1;
  assert.ok(params.messages[0].content.text.includes(PROMPT), JSON.stringify(params));
  const content = { type: "text", text: "sampled by the client" };
  return { role: "assistant", content, model: "model-of-the-test", stopReason: "endTurn" };
});
client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
  seen.elicitation += 1;
  assert.ok(params.requestedSchema.properties.name, JSON.stringify(params));
  return { action: "accept", content: { name: "Ada Lovelace", check: true } };
});

async function call(name, args, options) {
  const result = await client.callTool({ name, arguments: args }, undefined, options);
  const text = result.content.map((part) => part.text ?? "").join("");
  assert.ok(!result.isError, `${name}: ${text}`);
  return text;
}

// How a transport is told.
let protocol;
transport.setProtocolVersion = (version) => { protocol = version; };
await client.connect(transport);
held("protocol", protocol);

const tools = (await client.listTools()).tools.map((tool) => tool.name);
for (const name of ["echo", "get-sum", "trigger-sampling-request", "trigger-elicitation-request"]) {
  assert.ok(tools.includes(name), `no ${name} in ${tools}`);
}
held("tools/list", tools.length);

assert.equal(await call("echo", { message: PROMPT }), `Echo: ${PROMPT}`);
assert.equal(await call("get-sum", { a: 17, b: 25 }), "The sum of 17 and 25 is 42.");
held("echo and get-sum", PROMPT);

const sampled = await call("trigger-sampling-request", { prompt: PROMPT, maxTokens: 10 });
assert.ok(sampled.includes("sampled by the client"), sampled);
const elicited = await call("trigger-elicitation-request", {});
assert.ok(elicited.includes("Ada Lovelace"), elicited);
assert.deepEqual(seen, { sampling: 1, elicitation: 1 });
held("sampling and elicitation", "answered by the client");

const steps = [];
const done = await call("trigger-long-running-operation", { duration: 0.2, steps: 4 }, {
  onprogress: ({ progress, total }) => steps.push([progress, total]),
});
assert.ok(done.includes("completed"), done);
// What comes after the answer is not told any more: of the last one this may be true.
assert.deepEqual(steps.slice(0, 3), [[1, 4], [2, 4], [3, 4]]);
held("progress", "in order");

const { prompts } = await client.listPrompts();
const { resources } = await client.listResources();
assert.ok(prompts.length > 0 && resources.length > 0);
held("prompts and resources", `${prompts.length} and ${resources.length}`);

await client.close();
console.log("all held");
