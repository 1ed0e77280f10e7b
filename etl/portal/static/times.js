// Show times in the reader's zone; without this script they are in UTC, which they say.
"use strict";
const styles = {
  day: { year: "numeric", month: "long", day: "numeric" },
  clock: { hour: "numeric", minute: "2-digit", timeZoneName: "short" },
};
styles.moment = { ...styles.day, ...styles.clock };
for (const time of document.querySelectorAll("time[data-style]")) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, styles[time.dataset.style]);
  time.textContent = format.format(new Date(time.dateTime));
}
