// The tray's buttons and captions. A caption is sent when its box is left, or typing pauses; with
// whatever is sent next, again, for a moment: answers may cross.
const PAUSE = 800;
const CROSSING = 5000;
const typed = new Map();
let timer = 0;
let after = "";
const isOpen = (one) => !one.sent || Date.now() - one.time < CROSSING;
const send = (message) => {
  clearTimeout(timer);
  const captions = {};
  for (const [id, one] of typed) {
    if (!isOpen(one)) {
      typed.delete(id);
      continue;
    }
    captions[id] = one.text;
    if (!one.sent) Object.assign(one, { sent: true, time: Date.now() });
  }
  trigger("act", { ...message, captions });
};
const save = () => {
  if ([...typed.values()].some((one) => !one.sent)) send({ do: "caption" });
};
element.addEventListener("input", (event) => {
  const id = event.target.dataset && event.target.dataset.id;
  if (!id) return;
  typed.set(id, { text: event.target.value, sent: false, time: 0 });
  clearTimeout(timer);
  timer = setTimeout(save, PAUSE);
});
element.addEventListener("focusout", save);
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  after = button.dataset.do;
  send({ ...button.dataset });
});
watch("value", () => {
  for (const box of element.querySelectorAll("textarea[data-id]")) {
    // Boxes are used anew for other pictures, and keep what was typed into them.
    const one = typed.get(box.dataset.id);
    const text = one && isOpen(one) ? one.text : box.defaultValue;
    if (box.value !== text) box.value = text;
  }
  const lost = after && document.activeElement === document.body;
  const turned = after === "page" || after === "show";
  after = "";
  const removing = element.querySelectorAll('[data-do="remove"]');
  const list = element.querySelector("section") || document.querySelector("#field-upload button");
  if (turned && removing.length) {
    list.scrollIntoView({ block: "start" });
    list.focus({ preventScroll: true });
  } else if (lost && list) {
    (removing[removing.length - 1] || list).focus();
  }
});
