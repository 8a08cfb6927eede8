// The official client for Node through the life of an upload; prints what it saw.
const OpenAI = require("openai");

const client = new OpenAI({
  baseURL: process.argv[2],
  apiKey: "sk-test",
  maxRetries: 0,
});

const file = (text) => new File([text], "part");

async function create() {
  return client.uploads.create({
    bytes: 11,
    filename: "a.txt",
    mime_type: "text/plain",
    purpose: "assistants",
  });
}

async function main() {
  const { id } = await create();
  const hello = await client.uploads.parts.create(id, { data: file("hello ") });
  const world = await client.uploads.parts.create(id, { data: file("world") });
  const done = await client.uploads.complete(id, {
    part_ids: [hello.id, world.id],
    md5: "5eb63bbbe01eeed093cb22bb8f5acdc3",
  });
  const found = await client.files.retrieve(done.file.id);
  const content = await (await client.files.content(found.id)).text();

  const other = await create();
  const cancelled = await client.uploads.cancel(other.id);
  const refused = await client.uploads.cancel(other.id).catch((error) => error);

  const made = await client.files.create({ file: file("whole"), purpose: "user_data" });
  const listed = [];
  for await (const item of client.files.list({ limit: 1, order: "asc" })) {
    listed.push(item.id);
  }
  const deleted = await client.files.delete(made.id);
  const unknown = await client.files.retrieve(made.id).catch((error) => error);

  return {
    status: done.status,
    content,
    cancelled: cancelled.status,
    refused: refused.constructor.name,
    listed: listed.length,
    deleted: deleted.deleted,
    unknown: unknown.constructor.name,
  };
}

main().then((seen) => console.log(JSON.stringify(seen)));
