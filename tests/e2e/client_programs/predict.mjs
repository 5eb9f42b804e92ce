// Asks for each customer of a file with Node's own `fetch`, ten at a time.
import { readFileSync } from "node:fs";

const [url, file] = process.argv.slice(2);
const customers = readFileSync(file, "utf8").trim().split("\n");

async function ask(customer) {
  const response = await fetch(`${url}/predict`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ customer_id: customer }),
  });
  return `${customer}\t${response.status}\t${await response.text()}`;
}

for (let from = 0; from < customers.length; from += 10) {
  for (const line of await Promise.all(customers.slice(from, from + 10).map(ask))) console.log(line);
}
