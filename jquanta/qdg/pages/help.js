// What the terms of the page mean: the panel holds the texts, and a ? beside a term shows its own.

/** A ? that explains a term of the panel. */
function whatIs(term) {
  const button = make('button', { type: 'button', className: 'what', textContent: '?' });
  button.ariaLabel = `What does “${term}” mean?`;
  button.dataset.term = term;
  return button;
}

const textOfTerm = (term) => document.querySelector(`#terms [data-term="${term}"] dd`).textContent;

/** Place a box below a button, within the window. */
function placeBelow(box, button) {
  const at = button.getBoundingClientRect();
  const left = Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8);
  const below = at.bottom + 6;
  const top = below + box.offsetHeight < innerHeight ? below : at.top - box.offsetHeight - 6;
  Object.assign(box.style, { left: `${Math.max(8, left)}px`, top: `${Math.max(8, top)}px` });
}

function explain(button) {
  const box = document.getElementById('term');
  box.replaceChildren(make('b', { textContent: button.dataset.term }), ` ${textOfTerm(button.dataset.term)}`);
  box.showPopover();
  placeBelow(box, button);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest?.('button.what');
  if (button) explain(button);
});
