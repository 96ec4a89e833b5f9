// Shows what happens on a page that is open, without loading it again: the page is asked for once more, and what is
// different is changed in place, so that nobody loses their place, their focus or what they have opened.
"use strict";
(() => {
  const events = document.body.dataset.live;
  if (events === undefined) return;

  const SOON = 1000; // after something has happened
  const ALWAYS = 5000; // for words such as "4 min ago", and for what is no event
  const connection = document.getElementById("connection");
  let source = null;
  let timer = null;
  let busy = false;
  let seen = new Date();

  function change(from, to) {
    if (from.isEqualNode(to)) return;
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
      from.replaceWith(document.importNode(to, true));
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      from.nodeValue = to.nodeValue;
      return;
    }
    // What somebody has opened or typed stays.
    if (from.matches("input, select, textarea")) return;
    for (const { name } of [...from.attributes]) {
      if (name !== "open" && !to.hasAttribute(name)) from.removeAttribute(name);
    }
    for (const { name, value } of [...to.attributes]) {
      if (name !== "open" && from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    changeChildren(from, to);
  }

  const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);

  function changeChildren(from, to) {
    const keyed = new Map([...from.childNodes].filter(key).map((node) => [key(node), node]));
    let place = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let found = key(wanted) === undefined ? place : keyed.get(key(wanted));
      if (found && key(wanted) === undefined && key(found) !== undefined) found = undefined;
      if (!found) {
        from.insertBefore(document.importNode(wanted, true), place);
        continue;
      }
      if (found === place) place = place.nextSibling;
      else from.insertBefore(found, place);
      change(found, wanted);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  async function refresh() {
    timer = null;
    if (busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(10000), cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = page.querySelector("main");
      if (!answer.ok || !main) throw new Error(page.querySelector("h1")?.textContent || "The service does not answer");
      changeChildren(document.querySelector("main"), main);
      document.title = page.title;
      seen = new Date();
      connection.hidden = true;
    } catch (error) {
      const why = error instanceof Error && error.name === "Error" ? error.message : "The service does not answer";
      connection.textContent = `${why}. What you see is as of ${seen.toLocaleTimeString()}.`;
      connection.hidden = false;
    }
    busy = false;
    later(ALWAYS);
  }

  function later(wait) {
    if (timer !== null && wait === ALWAYS) return;
    clearTimeout(timer);
    timer = setTimeout(refresh, wait);
  }

  let isSoon = false;
  function soon() {
    if (isSoon) return;
    isSoon = true;
    setTimeout(() => {
      isSoon = false;
      clearTimeout(timer);
      refresh();
    }, SOON);
  }

  function listen() {
    if (!events || source) return;
    source = new EventSource(events);
    for (const name of ["entry", "saga", "skipped"]) source.addEventListener(name, soon);
  }

  // A browser has few connections to one server, so a page that nobody looks at gives its own away.
  function look() {
    if (document.hidden) {
      source?.close();
      source = null;
      return;
    }
    listen();
    refresh();
  }

  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", () => source?.close());
  if (!document.hidden) {
    listen();
    later(ALWAYS);
  }
})();
