/** Imported first by pages: zod would try whether it may make code of text, which their Content-Security-Policy forbids. */
import { config } from 'zod';

config({ jitless: true });
