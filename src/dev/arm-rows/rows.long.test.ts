/** The rows' test with many more cases of each. */
process.env['VRING_ROW_CASES'] ??= '90';
await import('./rows.test.js');
