// Timers as hidden pages have them. Chromium lets a hidden page's timers run once a minute, but spares pages with an open
// WebSocket: 156 was seen to leave a 10 s interval alone for seven minutes. Other versions and browsers do not spare them,
// and nothing in Chromium turns the exception off, so this page does it itself, for as long as it is hidden.

/** Replaces the page's timers: while it is hidden, whatever falls due waits for the next of its minutes. */
export function throttleHiddenTimers(minute = 60_000) {
  const { setTimeout, setInterval, clearTimeout, clearInterval } = window;
  const due = new Map();
  let wakeUps;

  const wakeUp = () => {
    const callbacks = [...due.values()];
    due.clear();
    for (const callback of callbacks) callback();
  };
  document.addEventListener('visibilitychange', () => {
    clearInterval(wakeUps);
    if (document.hidden) wakeUps = setInterval(wakeUp, minute);
    else wakeUp();
  });

  const throttled = (start) => (callback, delay, ...rest) => {
    const run = () => callback(...rest);
    const id = start(() => (document.hidden ? due.set(id, run) : run()), delay);
    return id;
  };
  const forgotten = (clear) => (id) => {
    due.delete(id);
    clear(id);
  };
  window.setTimeout = throttled(setTimeout);
  window.setInterval = throttled(setInterval);
  window.clearTimeout = forgotten(clearTimeout);
  window.clearInterval = forgotten(clearInterval);
}
