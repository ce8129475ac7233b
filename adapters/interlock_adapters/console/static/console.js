// The console's one script.  Pages work without it; with it they change while one looks.
// What comes in is HTML that the server rendered and escaped, put where its message says.
"use strict";

(() => {
  const THEME = "interlock-theme";
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem(THEME);
    } catch {
      return null; // Storage is off: the system decides.
    }
  }

  function isDark() {
    const said = root.dataset.theme;
    return said ? said === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function useTheme(theme) {
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme;
  }

  // Before anything is painted.
  useTheme(stored());

  function startTheme() {
    const button = document.getElementById("theme");
    if (!button) return;
    const name = () => {
      button.textContent = `${isDark() ? "Light" : "Dark"} colours`;
      button.setAttribute("aria-label", `Use ${isDark() ? "light" : "dark"} colours`);
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      useTheme(theme);
      try {
        localStorage.setItem(THEME, theme);
      } catch {
        // It lasts for this page.
      }
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
  }

  // --- times -----------------------------------------------------------------------

  const UNITS = [
    [86400, "day"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];

  function spell(seconds) {
    for (const [index, [size, unit]] of UNITS.entries()) {
      if (seconds >= size) {
        const next = UNITS[index + 1];
        const many = (n, word) => `${n} ${word}${word === "day" && n !== 1 ? "s" : ""}`;
        const first = many(Math.floor(seconds / size), unit);
        const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
        return rest ? `${first} ${many(rest, next[1])}` : first;
      }
    }
    return "0 s";
  }

  function tick() {
    const now = Date.now() / 1000;
    for (const time of document.querySelectorAll("time[data-due], time[data-ago]")) {
      if (!time.title) time.title = time.textContent;
      const due = time.dataset.due;
      const left = due ? Number(due) - now : now - Number(time.dataset.ago);
      const words = due ? (left > 0 ? `in ${spell(left)}` : "now") : `${spell(Math.max(0, left))} ago`;
      if (time.textContent !== words) time.textContent = words;
      time.classList.toggle("soon", Boolean(due) && left < 60);
    }
  }

  // --- parts of the page that change -------------------------------------------------

  function parsed(html, within) {
    const template = document.createElement("template");
    // Rows are parsed where rows may stand.
    template.innerHTML = within === "rows" ? `<table><tbody>${html}</tbody></table>` : html;
    return within === "rows" ? template.content.querySelector("tbody") : template.content;
  }

  function say(words) {
    const news = document.getElementById("news");
    if (news) news.textContent = words;
  }

  function litIn(picture) {
    return picture.querySelector(".state.here, .state.populated");
  }

  // What is lit may be beyond the edge of a small screen.
  function showLit(picture) {
    const lit = (litIn(picture) ?? picture.querySelector(".states"))?.getBoundingClientRect();
    if (!lit) return;
    const frame = picture.getBoundingClientRect();
    picture.scrollLeft += lit.left + lit.width / 2 - frame.left - frame.width / 2;
    picture.scrollTop += lit.top + lit.height / 2 - frame.top - frame.height / 2;
  }

  // Where the keyboard is, and what is open, stays so when a part is replaced.
  function replace(part, content) {
    const open = [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const name = focused && (focused.id || focused.getAttribute("href"));
    const scrolled = [...part.querySelectorAll(".picture, .scroll")].map((each) => [
      each.scrollLeft,
      each.scrollTop,
      litIn(each)?.id,
    ]);
    part.replaceChildren(content);
    for (const id of open) {
      const again = document.getElementById(id);
      if (again) again.open = true;
    }
    part.querySelectorAll(".picture, .scroll").forEach((each, index) => {
      const [left, top, lit] = scrolled[index] ?? [];
      if (each.matches(".picture") && litIn(each)?.id !== lit) return showLit(each);
      [each.scrollLeft, each.scrollTop] = [left ?? 0, top ?? 0];
    });
    if (!name) return;
    for (const each of part.querySelectorAll("[id], [href]")) {
      if (each.id === name || each.getAttribute("href") === name) return each.focus({ preventScroll: true });
    }
  }

  // Cards are merged: one that somebody fills in is left alone until it is another.
  function merge(part, content) {
    const coming = [...content.children];
    const ids = new Set(coming.map((each) => each.id));
    for (const old of [...part.children]) {
      if (ids.has(old.id)) continue;
      if (old.contains(document.activeElement)) close(old);
      else old.remove();
    }
    let last = null;
    for (const fresh of coming) {
      const old = document.getElementById(fresh.id);
      const keeps = old && old.dataset.version === fresh.dataset.version;
      const card = keeps ? old : fresh;
      if (old && !keeps) old.replaceWith(fresh);
      const place = last ? last.nextElementSibling : part.firstElementChild;
      if (place !== card && !(keeps && card.contains(document.activeElement))) part.insertBefore(card, place);
      if (!old) {
        start(card);
        card.classList.add("fresh");
        say(`New: ${card.querySelector("h2")?.textContent ?? "an ask"}`);
      } else if (!keeps) start(card);
      last = card;
    }
  }

  function close(card) {
    if (card.classList.contains("closed")) return;
    card.classList.add("closed");
    const note = document.createElement("p");
    note.className = "problem";
    note.textContent = "This is not asked any more.";
    card.querySelector("form")?.prepend(note);
    for (const button of card.querySelectorAll("button")) button.disabled = true;
    say(note.textContent);
  }

  function update({ id, html }) {
    const part = document.getElementById(id);
    if (!part) return;
    const content = parsed(html);
    if (part.dataset.keyed) merge(part, content);
    else replace(part, content);
    tick();
  }

  function addRows({ id, html }) {
    const rows = document.getElementById(id);
    if (!rows) return;
    for (const row of [...parsed(html, "rows").children]) {
      if (document.getElementById(row.id)) continue;
      row.classList.add("fresh");
      rows.append(row);
    }
  }

  // Open only while somebody looks: a browser has few connections for all its tabs together.
  function startLive() {
    const { live, base } = document.body.dataset;
    const link = document.getElementById("link");
    if (!live || !window.EventSource) return;
    let source = null;
    let last = ""; // The number of the last entry of a log, where it is taken up again.
    let over = false;
    const told = (words, state) => {
      if (link.textContent !== words) link.textContent = words;
      document.body.dataset.link = state;
    };
    const stop = () => {
      source?.close();
      source = null;
    };
    const listen = () => {
      const address = new URL(base + live, location.href);
      if (last) address.searchParams.set("after", last);
      source = new EventSource(address);
      source.addEventListener("open", () => told("Live", "live"));
      source.addEventListener("part", (event) => update(JSON.parse(event.data)));
      source.addEventListener("rows", (event) => {
        last = event.lastEventId || last;
        addRows(JSON.parse(event.data));
      });
      source.addEventListener("end", (event) => {
        over = true;
        stop();
        told(JSON.parse(event.data).gone ? "You may not see this task any more" : "It is over", "over");
      });
      source.addEventListener("error", () => {
        if (source?.readyState === EventSource.CLOSED) {
          source = null;
          told("Not live any more: load the page anew", "off");
        } else told("The connection is lost; trying again", "off");
      });
    };
    const look = () => {
      if (over) return;
      if (!document.hidden) source ?? listen();
      else {
        stop();
        told("Paused", "paused");
      }
    };
    look();
    document.addEventListener("visibilitychange", look);
    addEventListener("pagehide", stop);
    // A page that comes back from the browser's memory is old.
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  // --- forms -------------------------------------------------------------------------

  function showMode(form) {
    const raw = (form.querySelector("input[name=mode]:checked") ?? form.elements.mode)?.value === "raw";
    for (const part of form.querySelectorAll("[data-mode]")) {
      part.hidden = (part.dataset.mode === "raw") !== raw;
    }
  }

  // What would run, beside what was asked: worked out where it will be judged.
  function startPreview(form, region) {
    let asked = 0;
    let timer;
    const look = async () => {
      const number = ++asked;
      const body = new URLSearchParams(new FormData(form));
      body.delete("seen");
      body.set("do", "preview");
      const response = await fetch(form.action, { method: "POST", body, redirect: "error" }).catch(() => null);
      if (number !== asked) return; // Somebody typed on.
      if (response?.ok) region.replaceChildren(parsed(await response.text()));
      else region.textContent = "The difference cannot be shown now.";
      const changed = Boolean(region.querySelector(".diff, .problem"));
      const asIs = form.querySelector("button[value=approve]");
      if (asIs) asIs.disabled = changed;
    };
    form.addEventListener("input", (event) => {
      if (event.target.name === "reason") return;
      // What was seen is not what would run now.
      region.querySelector("input[name=seen]")?.remove();
      clearTimeout(timer);
      timer = setTimeout(look, 250);
    });
  }

  function start(within) {
    for (const form of within.querySelectorAll("form.decide")) {
      showMode(form);
      form.addEventListener("change", (event) => event.target.name === "mode" && showMode(form));
      const region = form.querySelector("[data-preview]");
      if (region) startPreview(form, region);
      // What is typed into a field is meant to be given.
      form.addEventListener("input", (event) => {
        for (const box of form.querySelectorAll("input[data-gives]")) {
          if (box.dataset.gives === event.target.id) box.checked = true;
        }
      });
    }
  }

  addEventListener("DOMContentLoaded", () => {
    startTheme();
    start(document);
    document.querySelectorAll(".picture").forEach(showLit);
    tick();
    setInterval(tick, 1000);
    startLive();
  });
})();
