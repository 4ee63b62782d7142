// What is looked at in a dashboard that Grafana shows; evaluated there by grafana_page.py.
var panels = () => [...document.querySelectorAll('section[data-testid^="data-testid Panel header"]')];

var titleOf = panel => panel.dataset.testid.replace('data-testid Panel header ', '');

// Grafana draws what is in sight, after its queries; done when all are there, none loads and nothing changes.
var drawn = () => ({
  panels: panels().filter(panel => panel.querySelector('[data-testid="data-testid panel content"]')).map(titleOf),
  loading: document.querySelectorAll('[aria-label="Panel loading bar"], [data-testid="Spinner"]').length,
  text: document.body.innerText.length,
});

var failed = () => panels().filter(panel =>
  panel.querySelector('[data-testid="data-testid Panel status error"]') || panel.innerText.includes('An unexpected error')).map(titleOf);

var empty = () => panels().filter(panel =>
  panel.querySelector('[data-testid="data-testid Panel data error message"]')).map(titleOf);

// Text that does not fit into what holds it: an ellipsis, a column or a row of a legend beyond the edge.
var cut = () => panels().flatMap(panel => {
  const found = new Set();
  for (const grid of panel.querySelectorAll('[role="grid"]'))
    if (grid.scrollWidth > grid.clientWidth + 1) found.add('columns beyond the edge');
  const texts = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (!text.textContent.trim() || text.parentElement.closest('.sr-only, [class*="visually"]')) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    const at = range.getBoundingClientRect();
    if (!at.width) continue;
    for (let box = text.parentElement; box !== panel; box = box.parentElement) {
      const style = getComputedStyle(box), edge = box.getBoundingClientRect();
      const beside = style.overflowX !== 'visible' && (at.right > edge.right + 1 || at.left < edge.left - 1);
      const below = style.overflowY !== 'visible' && at.bottom > edge.bottom + 2 && !box.closest('[role="grid"]');
      if (beside || below) { found.add(text.textContent.trim()); break; }
    }
  }
  return [...found].map(text => `${titleOf(panel)}: ${text}`);
});

// Addresses of links out of panels, of cells and of their heads.
var links = () => [...new Set(panels().flatMap(panel => [...panel.querySelectorAll('a[href]')].map(one => one.href)))];
