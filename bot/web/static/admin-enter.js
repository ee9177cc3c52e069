// A link from the chat: its secret follows the #, which no server and no log sees. It is used at a press, not at a look:
// chats and mail filters open links before people do.

const form = document.getElementById("enter");
const problem = document.getElementById("problem");
const token = location.hash.slice(1);

history.replaceState(null, "", location.pathname); // not left in the history of the browser
if (!token) problem.textContent = "Write `admin` to Almanac in a direct message for a link.";
form.querySelector("button").disabled = !token;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  try {
    const response = await fetch("/api/admin/enter", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) return location.replace("/admin");
    problem.textContent = (await response.json()).error;
  } catch {
    problem.textContent = "Almanac cannot be reached.";
  }
});
