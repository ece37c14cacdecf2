import { test } from 'node:test';
import { makeAndClose } from './testing/leaks.js';

test('a hundred machines made and closed leave no thread, descriptor or memory behind', async () => {
  await makeAndClose(100);
});
