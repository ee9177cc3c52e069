// The administrators' API. Every failure is an ApiError with a sentence that can be shown.

import { ApiError } from "./api.js";

const AWAY = "Almanac cannot be reached. Check that it is running, then try again.";
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/admin/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(AWAY);
  }
  if (response.ok) return response;
  if (response.status === 401) location.reload(); // the session has ended; the page asks who it is
  const body = await response.json().catch(() => ({}));
  throw new ApiError(body.error ?? AWAY, response.status);
}

/** `parameters` without a value are left out. */
export async function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  const query = new URLSearchParams(given).toString();
  return (await request(query ? `${path}?${query}` : path, { signal })).json();
}

export async function post(path, body = {}) {
  return (await send(path, body)).json();
}

/** Save what the API answers as a file. */
export async function save(path, body, name) {
  const url = URL.createObjectURL(await (await send(path, body)).blob());
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function send(path, body) {
  const headers = { "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}
