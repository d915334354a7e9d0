// Drive @stoqey/ib over JSON lines: requests in, events out; the same lines as official.py.
//
//     node stoqey.mjs DIRECTORY     DIRECTORY holds the node_modules with @stoqey/ib
//
// Calls are methods of IBApi with their own arguments, objects as they are. `connect(host, port,
// clientId)` replies with the server version when it is known.

import { createRequire } from "node:module";
import readline from "node:readline";

const { EventName, IBApi } = createRequire(`${process.argv[2]}/`)("@stoqey/ib");
const UNSET = [2 ** 31 - 1, 2 ** 63 - 1, 2 ** 127 - 1, Number.MAX_VALUE];
const INTERNAL = ["all", "received", "result", "sent"];
let api;

function write(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function plain(value) {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "number") {
    return UNSET.includes(value) || !Number.isFinite(value) || value > 1e37 ? null : value;
  }
  if (value instanceof Error) return value.message;
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
  }
  return value;
}

function connected(host, port, clientId) {
  api = new IBApi({ host, port, clientId });
  api.on(EventName.error, () => undefined); // an unheard error would be thrown
  api.on(EventName.all, (event, args) => {
    if (!INTERNAL.includes(event)) write({ event, args: plain(args) });
  });
  return new Promise((resolve) => {
    api.once(EventName.server, (version) => resolve(version));
    api.connect();
  });
}

function called(name, args) {
  const reply = api[name](...args);
  return reply === api ? null : reply;
}

async function answered({ call, args }) {
  try {
    const reply = call === "connect" ? await connected(...args) : called(call, args);
    write({ reply: plain(reply) });
  } catch (error) {
    write({ failed: String(error) });
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  await answered(JSON.parse(line));
}
process.exit(0);
