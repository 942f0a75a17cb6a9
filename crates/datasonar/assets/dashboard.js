// The dashboard's one script. It only spares people something that works without it: reloading, copying by hand, reading times anew.
"use strict";
(() => {
  document.documentElement.classList.add("scripted");

  // Relative times go on.
  const units = [[172800, 86400, "d"], [3600, 3600, "h"], [60, 60, "min"], [5, 1, "s"]];
  const relative = (ms) => {
    const past = ms >= 0, seconds = Math.floor(Math.abs(ms) / 1000);
    const unit = units.find(([from]) => seconds >= from);
    if (!unit) return past ? "just now" : "now";
    const amount = `${Math.floor(seconds / unit[1])} ${unit[2]}`;
    return past ? `${amount} ago` : `in ${amount}`;
  };
  const tick = () => document.querySelectorAll("time[datetime]").forEach((time) => {
    const text = relative(Date.now() - Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  });
  // A browser whose clock is far from the server's would only make them wrong.
  const stamp = document.querySelector("[data-now]");
  if (!stamp || Math.abs(Date.now() - Date.parse(stamp.dataset.now)) < 60000) setInterval(tick, 5000);

  // The theme is set without leaving the page.
  const theme = document.querySelector("[data-theme-form] select");
  theme?.addEventListener("change", async () => {
    document.documentElement.dataset.theme = theme.value;
    await fetch("/theme", { method: "POST", body: new URLSearchParams(new FormData(theme.form)) });
  });

  // What is to be copied: <button data-copy="id of an element">.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const from = document.getElementById(button.dataset.copy);
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  });

  // What cannot be undone is asked for twice; a form is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target, question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !confirm(question)) { event.preventDefault(); return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (form.method === "post" && form.target !== "_blank") {
      form.dataset.sent = "1";
      setTimeout(() => { delete form.dataset.sent; }, 4000);
    }
  });

  // Menus close by Escape and by a click elsewhere.
  const close = (but) => document.querySelectorAll("details.menu[open]").forEach((menu) => { if (menu !== but) menu.open = false; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  document.addEventListener("click", (event) => close(event.target.closest("details.menu")));

  // Live parts: <section data-live="address of events" id="…">. Each event brings the new inside of elements, by id; nothing else moves.
  document.querySelectorAll("[data-live]").forEach((part) => {
    const source = new EventSource(part.dataset.live);
    source.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      const element = document.getElementById(id);
      if (element && element.innerHTML !== html && !element.contains(document.activeElement)) element.innerHTML = html;
    });
    source.addEventListener("end", () => { source.close(); location.reload(); });
    addEventListener("pagehide", () => source.close());
  });

  // Filters are followed when a choice is made.
  document.querySelectorAll("form.filters select").forEach((select) => select.addEventListener("change", () => select.form.requestSubmit()));
})();
