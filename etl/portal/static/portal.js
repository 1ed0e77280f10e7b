// What makes the pages more comfortable. Everything works without it.

"use strict";

// A button on every piece of code that copies it.
if (navigator.clipboard) {
  for (const figure of document.querySelectorAll("figure.code")) {
    const button = document.createElement("button");
    const caption = figure.querySelector("figcaption");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${caption.textContent.trim()}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(figure.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => {
        button.textContent = "Copy";
      }, 2000);
    });
    caption.append(button);
  }
}

// After a form came back with problems, whoever uses a screen reader starts there.
document.getElementById("problems")?.focus();
