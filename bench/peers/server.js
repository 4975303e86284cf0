// SPDX-License-Identifier: Apache-2.0
// The trial's endpoints as a Node service would have them: node server.js pg|duckdb PORT WHERE
'use strict';
const http = require('node:http');

const [engine, port, where] = process.argv.slice(2);
const SUM = 'SELECT account_id, sum(calls)::DOUBLE AS calls, sum(errors)::DOUBLE AS errors, sum(cost) AS cost, count(day)::INTEGER AS days' +
  " FROM usage WHERE tenant_id = $1 AND account_id = $2 AND day BETWEEN $3 AND $4 GROUP BY account_id";
const ROWS = 'SELECT day::VARCHAR AS day, calls::DOUBLE AS calls, errors, cost FROM usage' +
  ' WHERE tenant_id = $1 AND account_id = $2 ORDER BY day LIMIT $3';
const TENANT = 'tenant_042';

// A function from (name, values) to rows.
async function openPg() {
  const { Pool } = require('pg');
  const pool = new Pool({ host: where, database: 'trial', user: 'bench', max: 8 });
  const texts = {
    sum: SUM.replaceAll('DOUBLE', 'FLOAT8'),
    rows: ROWS.replaceAll('DOUBLE', 'FLOAT8'),
  };
  return async (name, values) => (await pool.query({ name, text: texts[name], values })).rows;
}

async function openDuckDB() {
  const { DuckDBInstance } = require('@duckdb/node-api');
  const instance = await DuckDBInstance.create(where, { threads: '1', access_mode: 'READ_ONLY' });
  const free = [];
  for (let i = 0; i < 16; i++) {
    const connection = await instance.connect();
    free.push({
      sum: await connection.prepare(SUM.replace('$3', '$3::DATE').replace('$4', '$4::DATE')),
      rows: await connection.prepare(ROWS),
    });
  }
  const waiting = [];
  return async (name, values) => {
    const one = free.pop() ?? await new Promise((resolve) => waiting.push(resolve));
    try {
      values.forEach((v, i) => (typeof v === 'number' ? one[name].bindInteger(i + 1, v) : one[name].bindVarchar(i + 1, v)));
      return (await one[name].runAndReadAll()).getRowObjectsJson();
    } finally {
      if (waiting.length) waiting.shift()(one); else free.push(one);
    }
  };
}

async function main() {
  const query = await (engine === 'pg' ? openPg() : openDuckDB());
  http.createServer(async (request, response) => {
    const q = new URL(request.url, 'http://x').searchParams;
    try {
      const rows = request.url.startsWith('/sum')
        ? await query('sum', [TENANT, q.get('account_id'), q.get('from'), q.get('to')])
        : await query('rows', [TENANT, q.get('account_id'), Number(q.get('limit'))]);
      const body = JSON.stringify({ data: rows });
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
      response.end(body);
    } catch (error) {
      const body = String(error);
      response.writeHead(500, { 'Content-Length': Buffer.byteLength(body) });
      response.end(body);
    }
  }).listen(Number(port), '127.0.0.1');
}
main();
