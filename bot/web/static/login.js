const form = document.getElementById("login");
const token = document.getElementById("token");
const problem = document.getElementById("problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  try {
    const response = await fetch(form.dataset.to ?? "/api/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token: token.value }),
    });
    if (response.ok) return location.reload();
    problem.textContent = (await response.json()).error;
  } catch {
    problem.textContent = "Almanac cannot be reached.";
  }
  token.select();
});
