// The server's JSON API. Every failure is an ApiError with a sentence that can be shown.

const AWAY = "Almanac cannot be reached. Check that it is running, then try again.";

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(AWAY);
  }
  if (response.ok) return response;
  if (response.status === 401) location.reload(); // the session has ended; the page asks who it is
  const body = await response.json().catch(() => ({}));
  throw new ApiError(body.error ?? AWAY, response.status);
}

export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** The events of one question, each as [name, data]. Ends with `done`; anything else is an ApiError. */
export async function* ask(question, conversation, signal) {
  const response = await post("/api/ask", { question, conversation }, signal);
  for await (const [name, data] of events(response.body)) {
    if (name === "error") throw new ApiError(data.error);
    yield [name, data];
    if (name === "done") return;
  }
  throw new ApiError("The connection broke before the answer was complete.");
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  while (true) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true };
    });
    if (done) return;
    waiting += value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const match = /^event: (\w+)\ndata: (.*)$/s.exec(part); // comments keep the connection open
      if (match) yield [match[1], JSON.parse(match[2])];
    }
  }
}

export async function vote(answerId, value, reason = null) {
  await post("/api/votes", { answer_id: answerId, value, reason });
}

/** The turns of a conversation; none when there is no such conversation (any more). */
export async function history(conversation) {
  try {
    return await (await request(`/api/conversations/${conversation}`)).json();
  } catch (error) {
    if (error.status === 404) return [];
    throw error;
  }
}

export async function approval(id) {
  return (await request(`/api/approvals/${id}`)).json();
}

/** `hash` is that of the call which was shown; "approve" runs exactly that, once. */
export async function decide(id, decision, hash) {
  return (await post(`/api/approvals/${id}`, { decision, hash })).json();
}

/** The tools that there are for this person; none is no failure. */
export async function tools() {
  return (await request("/api/tools")).json();
}

/** `given`: texts by field. `name`: a UUID with which the same form is sent once. */
export async function callTool(tool, given, name) {
  return (await post(`/api/tools/${encodeURIComponent(tool)}`, { given, request: name })).json();
}

export async function passage(chunkId, signal) {
  return (await request(`/api/passages/${chunkId}`, { signal })).json();
}
