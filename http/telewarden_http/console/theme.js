/** Dark or light: as the system has it, unless the viewer chose. The choice is kept in this browser. */
const NAME = "telewarden-theme";
const CHOICES = ["system", "dark", "light"];

function chosen() {
  const value = localStorage.getItem(NAME);
  return CHOICES.includes(value) ? value : "system";
}

function apply(choice) {
  document.documentElement.dataset.theme = choice;
}

/** Lets these radio buttons choose. */
export function offer(radios) {
  for (const radio of radios) {
    radio.checked = radio.value === chosen();
    radio.addEventListener("change", () => {
      localStorage.setItem(NAME, radio.value);
      apply(radio.value);
    });
  }
}

apply(chosen());
