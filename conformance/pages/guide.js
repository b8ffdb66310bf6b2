// What can be done without: texts are copied by a button, and the steps of a test are shown as they come.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  });
}

const running = document.querySelector("[data-trial]");

function cell(tag, label, ...content) {
  const one = document.createElement(tag);
  if (tag === "th") one.scope = "row";
  one.dataset.label = label;
  const inner = document.createElement("div");
  inner.append(...content);
  one.append(inner);
  return one;
}

function quiet(text) {
  const one = document.createElement("span");
  one.className = "quiet nowrap";
  one.textContent = text;
  return one;
}

function row(step) {
  const line = document.createElement("tr");
  const verdict = document.createElement("span");
  verdict.className = "verdict " + step.outcome.replace(" ", "-");
  verdict.textContent = step.outcome;
  const purpose = step.purpose.charAt(0).toUpperCase() + step.purpose.slice(1);
  const words = step.reason ? [purpose, document.createElement("br"), step.reason] : [purpose];
  line.append(cell("th", "Verdict", verdict), cell("td", "Step", ...words), cell("td", "Clause", step.clause, " ", quiet(step.id)));
  return line;
}

function showQuestion(question) {
  const form = document.getElementById("question");
  const number = question ? String(question.number) : "";
  if (form.dataset.number === number) return;
  form.dataset.number = number;
  form.hidden = !question;
  if (!question) return;
  document.getElementById("question-text").textContent = question.text;
  form.elements.number.value = number;
}

async function show() {
  const answer = await fetch(`/trials/${running.dataset.trial}/steps?after=${running.dataset.count}`);
  if (!answer.ok) throw new Error(String(answer.status));
  const state = await answer.json();
  document.getElementById("steps").prepend(...state.steps.map(row).reverse());
  running.dataset.count = String(state.count);
  const progress = document.getElementById("progress");
  progress.max = state.of || 1;
  progress.value = state.count;
  document.getElementById("how-far").textContent =
    state.of ? `${state.count} of ${state.of} steps, ${state.failed} failed` : "Beginning";
  showQuestion(state.question);
  if (!state.runs) location.reload();
  return state.runs;
}

async function follow() {
  let runs = true;
  while (runs) {
    try {
      runs = await show();
    } catch {
      document.getElementById("how-far").textContent = "The service does not answer; trying again";
    }
    await new Promise((next) => setTimeout(next, 600));
  }
}

if (running) follow();
