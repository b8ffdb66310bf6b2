// What runs is followed without coming anew: how far it is is asked for, and the page comes anew at its end.
"use strict";

async function told(followed) {
  const answer = await fetch(followed.dataset.follow);
  if (!answer.ok) throw new Error(String(answer.status));
  const state = await answer.json();
  const bar = followed.querySelector("progress");
  if (state.of) {
    bar.max = state.of;
    bar.value = state.done;
  }
  followed.querySelector("[role=status]").textContent = state.text;
  return state.runs;
}

async function follow(followed) {
  let runs = true;
  while (runs) {
    await new Promise((next) => setTimeout(next, 1000));
    try {
      runs = await told(followed);
    } catch {
      followed.querySelector("[role=status]").textContent = "The service does not answer; trying again";
    }
  }
  location.reload();
}

document.querySelectorAll("[data-follow]").forEach(follow);
