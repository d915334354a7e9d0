// Says when the page has stopped being news, and loads it anew when the server's code has changed.
// Without it the page works and is only silent about its age.
"use strict";

(() => {
  const STALE_AFTER_MS = 3500; // three refreshes missed
  const stale = document.getElementById("stale");
  const build = document.body.dataset.build;
  let heard = Date.now();

  const judge = () => {
    const silent = Date.now() - heard;
    const isStale = silent > STALE_AFTER_MS;
    document.body.classList.toggle("stale", isStale);
    stale.hidden = !isStale;
    if (isStale) {
      const text = `Not updated for ${Math.round(silent / 1000)} s: the page's server does not answer. What stands here is old.`;
      if (stale.textContent !== text) stale.textContent = text;
    }
  };

  document.addEventListener("htmx:after:request", (event) => {
    const response = event.detail.ctx.response;
    if (response.status !== 200) return;
    const now = response.headers.get("ibloop-build");
    if (now && now !== build) location.reload();
    heard = Date.now();
    judge();
  });

  setInterval(judge, 500);
})();
