// What scrolls sideways must be reachable by keyboard; whether it scrolls depends on the width of the window.
function reachable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .math-wrapper, .cell_output .output, p:has(> img)")) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
  }
}
addEventListener("DOMContentLoaded", reachable);
addEventListener("load", reachable);
addEventListener("resize", reachable);
