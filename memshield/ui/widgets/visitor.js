// Takes private pictures off the screen of a tab whose visitor signed out, or became another one, in
// another tab of the same browser: it is loaded anew. So is a page that the browser kept as it was,
// and shows again when its visitor goes back.
(own) => {
  const key = "memshield-visitor";
  try {
    localStorage.setItem(key, own);
  } catch {
    return; // a browser that keeps nothing for this page tells its tabs nothing
  }
  const check = () => {
    if (own && localStorage.getItem(key) !== own) location.reload();
  };
  addEventListener("storage", check);
  addEventListener("pageshow", check);
}
