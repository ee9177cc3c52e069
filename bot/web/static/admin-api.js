// The administrators' API. Every failure is an ApiError with a sentence that can be shown.

import { post as send, request } from "./api.js";

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const at = (path) => `/api/admin/${path}`;

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return (await request(at(query ? `${path}?${query}` : path))).json();
}

export async function post(path, body = {}) {
  return (await send(at(path), body)).json();
}

/** Save what the API answers as a file. */
export async function save(path, body, name) {
  const url = URL.createObjectURL(await (await send(at(path), body)).blob());
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
