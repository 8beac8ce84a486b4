// @ts-check
// Runs before the first paint, so that a chosen palette does not flash. theme.js does the rest.
try {
  const theme = localStorage.getItem("switchboard.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset["theme"] = theme;
} catch {
  // No storage: the palette follows the system.
}
