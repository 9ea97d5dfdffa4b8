// Ties a problem to its field for those who do not see the page: the inputs of #field-X are invalid
// and described by #problem-X while there is something in it. A summary's link goes to the input,
// and is hidden while that has no problem: not removed, for a summary that is sent again with the
// same words is not drawn again.
(() => {
  const inputs = (name) =>
    document.querySelectorAll(`#field-${CSS.escape(name)} :is(input, textarea)`);
  const show = (name, wrong) => {
    for (const link of document.querySelectorAll(`a[data-field="${CSS.escape(name)}"]`)) {
      const box = link.closest("section");
      link.closest("li").hidden = !wrong;
      const count = box.querySelector("[data-left]");
      const left = Number(count.dataset.left) + box.querySelectorAll("li:not([hidden])").length;
      box.hidden = left === 0;
      count.textContent = left === 1 ? "1 thing" : `${left} things`;
    }
  };
  const tie = (slot) => {
    const wrong = slot.querySelector(".ms-alarm") !== null;
    const name = slot.id.replace(/^problem-/, "");
    show(name, wrong);
    for (const input of inputs(name)) {
      if (wrong) {
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", slot.id);
      } else if (input.getAttribute("aria-describedby") === slot.id) {
        input.removeAttribute("aria-invalid");
        input.removeAttribute("aria-describedby");
      }
    }
  };
  const watch = () =>
    new MutationObserver((changes) => {
      const slots = new Set();
      for (const change of changes) {
        const near = change.target.nodeType === 1 ? change.target : change.target.parentElement;
        const slot = near && near.closest('[id^="problem-"]');
        if (slot) slots.add(slot);
      }
      slots.forEach(tie);
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-field]");
    if (!link) return;
    event.preventDefault();
    const name = link.dataset.field;
    const place = document.getElementById(`field-${name}`);
    if (place) place.scrollIntoView({ block: "center" });
    const first = [...inputs(name)].find((one) => one.offsetParent !== null);
    if (first) first.focus({ preventScroll: true });
  });
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
})();
