// What pages do without it they do better with it: times count down, texts can
// be copied at a click, and pages with leases load themselves again.
"use strict";
(() => {
  const two = (n) => String(n).padStart(2, "0");

  // The server says how many seconds are left, so the clock here does not count.
  function start(root) {
    for (const el of root.querySelectorAll("[data-left]")) el.ends = performance.now() + 1000 * el.dataset.left;
  }

  function tell(el, s) {
    const row = el.closest("tr"), head = row && row.querySelector("th");
    const what = head ? head.textContent.trim() : "One";
    document.getElementById("live").textContent = s === 0 ? `${what}: the time is over.` : `${what}: 10 minutes are left.`;
  }

  function tick() {
    for (const el of document.querySelectorAll("[data-left]")) {
      const s = Math.max(0, Math.round((el.ends - performance.now()) / 1000));
      // A countdown that spoke each second would drown the rest; these two count.
      if (s === 600 || s === 0 && el.textContent !== "ended") tell(el, s);
      el.textContent = s === 0 ? "ended" : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
    }
  }

  function copiers(root) {
    if (!navigator.clipboard) return;
    for (const el of root.querySelectorAll("[data-copy]")) {
      const b = document.createElement("button");
      b.type = "button";
      b.className = "copier";
      b.textContent = "Copy";
      b.setAttribute("aria-label", `Copy ${el.textContent}`);
      b.addEventListener("click", async () => {
        await navigator.clipboard.writeText(el.textContent);
        b.textContent = "Copied";
        setTimeout(() => { b.textContent = "Copy"; }, 2000);
      });
      el.after(b);
    }
  }

  // refresh replaces the tables that change by themselves, unless somebody is in
  // the middle of something.
  async function refresh() {
    const active = document.activeElement;
    if (document.hidden || active && active.closest("table")) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!answer || !answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["lease-list", "server-list", "state-panel"]) {
      const old = document.getElementById(id), now = fresh.getElementById(id);
      if (old && now) {
        old.replaceWith(now);
        start(now);
        copiers(now);
      }
    }
    tick();
  }

  // A download leaves the page as it was, though the file is current now.
  for (const el of document.querySelectorAll("[data-test=config], [data-test=zip]")) {
    el.addEventListener("submit", () => setTimeout(refresh, 1500));
  }

  start(document);
  tick();
  setInterval(tick, 1000);
  copiers(document);
  if ("live" in document.body.dataset) setInterval(refresh, 30000);
})();
