export * from './index.js';
import * as hypercache from './index.js';
export default hypercache;
