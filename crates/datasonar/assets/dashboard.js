// The dashboard's one script. It only spares people something that works without it: reloading, copying by hand, sending a form to see what it would do.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // ---- Times go on: by the server's clock, whatever the browser's says.
  const ahead = Date.now() - Date.parse(root.dataset.now || new Date().toISOString());
  const units = [[172800, 86400, "d"], [3600, 3600, "h"], [60, 60, "min"], [5, 1, "s"]];
  const relative = (ms) => {
    const past = ms >= 0, seconds = Math.floor(Math.abs(ms) / 1000);
    const unit = units.find(([from]) => seconds >= from);
    if (!unit) return past ? "just now" : "now";
    const amount = `${Math.floor(seconds / unit[1])} ${unit[2]}`;
    return past ? `${amount} ago` : `in ${amount}`;
  };
  const countdown = (ms) => {
    const seconds = Math.max(0, Math.floor(-ms / 1000)), two = (number) => String(number).padStart(2, "0");
    return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min ${two(seconds % 60)} s`;
  };
  const tick = () => document.querySelectorAll("time[datetime]").forEach((time) => {
    const passed = Date.now() - ahead - Date.parse(time.dateTime);
    const text = "countdown" in time.dataset ? countdown(passed) : relative(passed);
    if (time.textContent !== text) time.textContent = text;
  });
  setInterval(tick, 1000);

  // ---- Parts of a page, <… id="…" data-part>, take what the server says of them now. Nothing else moves, and what somebody is busy with stays.
  const timeless = (html) => html.replace(/(<time[^>]*>)[^<]*/g, "$1");
  const isBusy = (part) => {
    const selection = getSelection();
    return part.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(part, true));
  };
  const swap = (part, html) => {
    if (timeless(part.innerHTML) === timeless(html) || isBusy(part)) return;
    const open = new Map([...part.querySelectorAll("details[id]")].map((details) => [details.id, details.open]));
    part.innerHTML = html;
    open.forEach((is, id) => { const details = document.getElementById(id); if (details) details.open = is; });
  };
  const take = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    document.querySelectorAll("[data-part]").forEach((part) => {
      const now = fresh.getElementById(part.id);
      if (now) swap(part, now.innerHTML);
    });
    // Rows that are new would push others away: they are counted, and come when they are asked for.
    const news = document.getElementById("news");
    if (!news) return;
    const count = [...fresh.querySelectorAll("tr[data-part]")].filter((row) => !document.getElementById(row.id)).length;
    news.textContent = count ? `Show ${count} new` : "";
    news.href = location.href;
    news.hidden = !count;
  };
  const refresh = async () => {
    const answer = await fetch(location.href).catch(() => null);
    // One who was signed out meanwhile is led elsewhere.
    if (answer?.ok && !answer.redirected) take(await answer.text());
  };

  // Pages that change by themselves: <… data-fresh="seconds">, while somebody looks.
  const often = document.querySelector("[data-fresh]");
  if (often) setInterval(() => { if (!document.hidden) refresh(); }, Number(often.dataset.fresh) * 1000);

  // Pages that are told: <… data-live="address of events">. An event brings a part, or says that the page has changed.
  const live = document.querySelector("[data-live]");
  if (live) {
    const source = new EventSource(live.dataset.live);
    source.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      const part = document.getElementById(id);
      if (part) swap(part, html);
    });
    source.addEventListener("fresh", async (event) => {
      await refresh();
      document.getElementById("told").textContent = event.data;
    });
    source.addEventListener("end", () => source.close());
    addEventListener("pagehide", () => source.close());
  }

  // ---- Forms that show what they would do: <form data-preview="name of the button that asks for it">.
  document.querySelectorAll("form[data-preview]").forEach((form) => {
    let wait;
    form.addEventListener("input", () => {
      clearTimeout(wait);
      wait = setTimeout(async () => {
        const fields = new FormData(form);
        fields.delete("file");
        fields.append(form.dataset.preview, "1");
        const body = form.enctype.startsWith("multipart") ? fields : new URLSearchParams(fields);
        const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
        if (answer?.ok) take(await answer.text());
      }, 300);
    });
  });

  // ---- The theme is set without leaving the page.
  const theme = document.querySelector("[data-theme-form] select");
  theme?.addEventListener("change", () => {
    root.dataset.theme = theme.value;
    fetch("/theme", { method: "POST", body: new URLSearchParams(new FormData(theme.form)), redirect: "manual", keepalive: true }).catch(() => {});
  });

  // ---- What is to be copied: <button data-copy="id of an element">. Where the clipboard is shut (plain http), the text is marked for copying by hand.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const from = document.getElementById(button.dataset.copy);
    const copied = await navigator.clipboard?.writeText(from.textContent).then(() => true, () => false);
    if (!copied) getSelection().selectAllChildren(from);
    const before = button.dataset.label ??= button.textContent;
    button.textContent = copied ? "Copied" : "Marked";
    setTimeout(() => { button.textContent = before; }, 1500);
  });

  // ---- What cannot be undone is asked for twice; a form is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target, question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !confirm(question)) { event.preventDefault(); return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (form.method === "post") {
      form.dataset.sent = "1";
      setTimeout(() => { delete form.dataset.sent; }, 4000);
    }
  });

  // ---- Menus close by Escape, which leads back to their button, and by a click elsewhere.
  const menus = (but) => [...document.querySelectorAll("details.menu[open]")].filter((menu) => menu !== but);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menus().forEach((menu) => { menu.open = false; menu.querySelector("summary").focus(); });
  });
  document.addEventListener("click", (event) => menus(event.target.closest("details.menu")).forEach((menu) => { menu.open = false; }));

  // ---- Filters are followed when a choice is made.
  document.querySelectorAll("form.filters select").forEach((select) => select.addEventListener("change", () => select.form.requestSubmit()));
})();
